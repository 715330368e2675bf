"""Closed forms of answers: grammars and tries of labels."""
