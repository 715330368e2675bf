"""Prompts from typed parts, few-shot selection, chain of thought, self-consistency, and the program that runs them."""
