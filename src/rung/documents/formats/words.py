"""Words as they stand in a text, whatever format it came in."""

from __future__ import annotations


def raised(place: str, before: str, words: str) -> str:
    """What stands between a text and what is set above it (``superscript``) or below it (``subscript``): a caret or an underscore
    where the two would be read as one number or name, as in 10^6; nothing for 1st, H2O or a trade mark."""
    if not (before.isalnum() and words[:1].isalnum()):
        return ""
    if place == "superscript":
        return "" if words.isalpha() and len(words) > 1 else "^"
    return "_" if place == "subscript" and before.isdigit() and words[:1].isdigit() else ""
