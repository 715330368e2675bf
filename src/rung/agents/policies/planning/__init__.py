"""Policies that plan, keep a list, or leave it to others."""
