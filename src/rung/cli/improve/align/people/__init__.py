"""Verbs about what people say, prefer and write."""
