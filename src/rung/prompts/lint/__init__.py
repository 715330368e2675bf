"""Lint of prompts: a table of rules (rules.yaml), and the engine that holds a prompt against it."""
