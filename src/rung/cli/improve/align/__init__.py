"""Verbs of alignment."""
