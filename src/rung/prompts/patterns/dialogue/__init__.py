"""Patterns that take turns or propose several ways."""
