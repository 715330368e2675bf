"""Verbs on agents."""
