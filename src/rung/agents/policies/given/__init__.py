"""Policies that are told what to do, and policies around others: what measures a harness."""
