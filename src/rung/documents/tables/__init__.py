"""Rows of tables, whatever file they are in."""
