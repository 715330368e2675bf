"""Texts held against rules: checkable instructions, a policy, a rubric."""
