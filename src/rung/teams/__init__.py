"""Agents among others: how several agree, also where some fail or lie."""
