"""Verbs that work on their own: a table, a queue, a stream, a set of services."""
