"""Answers or questions that are checked before they count."""
