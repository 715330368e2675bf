"""Verbs that put a program to use."""
