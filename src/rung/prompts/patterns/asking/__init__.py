"""Patterns that ask once: instruction, persona, demonstrations, reasoning, audience, outline."""
