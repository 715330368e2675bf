"""Closed answers held against what was expected: values, labels, ranks, structures, code."""
