"""Experiments with models that make pictures, series and melodies."""
