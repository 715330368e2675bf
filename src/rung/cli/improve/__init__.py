"""Verbs that improve prompts, data and models."""
