"""Weights on disk: GGUF read and converted, folders with a graph."""
