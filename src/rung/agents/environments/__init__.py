"""Worlds to act in: seeded, resettable, forkable, with goals that no agent sees. ``names`` lists them by name."""
