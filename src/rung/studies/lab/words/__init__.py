"""Experiments with vectors of words."""
