"""Answers, what they cost, and which of them are answers at all."""
