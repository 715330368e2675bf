"""Worlds to act in: seeded, resettable, forkable, with goals that no agent sees. ``shelf`` lists them by name."""
