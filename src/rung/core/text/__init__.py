"""Texts that somebody else wrote, read with care: replies, reasoning, numbers, patterns; and rows as text in
columns."""
