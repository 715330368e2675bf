"""Patterns that look things up while they answer."""
