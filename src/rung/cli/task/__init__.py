"""Verbs about tasks, runs and studies."""
