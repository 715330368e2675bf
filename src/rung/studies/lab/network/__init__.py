"""Experiments with networks that are written out in numpy: their parts, pictures, a series."""
