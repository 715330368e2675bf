"""Words as they stand in a text, whatever format it came in."""

from __future__ import annotations

import re

_SIGNED = re.compile(r"[-+−–]?\w|[-+−–]\Z")
SUM = re.compile(r"\S\s*[-+−–*/=,·×]\s*\S|\S\s+\S")


def raised(place: str, before: str, words: str) -> tuple[str, str]:
    """What stands before and after ``words`` that are set above a text (``superscript``) or below it (``subscript``): a
    caret or an underscore where the two would be read as one number or name, as in 10^6 and 10^-3, with parentheses
    around a sum; nothing for 1st, H2O or a trade mark."""
    words = words.strip()
    if not (before.isalnum() or before in (")", "]")) or _SIGNED.match(words) is None:
        return "", ""
    if place == "superscript":
        if words.isalpha() and len(words) > 1:
            return "", ""
        return ("^(", ")") if SUM.search(words) else ("^", "")
    return ("_", "") if place == "subscript" and before.isdigit() and words[:1].isdigit() else ("", "")


def spell(number: int, form: str) -> str:
    """A number as a list's format (w:numFmt) writes it; one that is not known here is decimal."""
    if form == "none":
        return ""
    lower = form.lower()
    if lower.endswith("letter") and number > 0:  # a ... z, aa, bb, ...
        letters = chr(97 + (number - 1) % 26) * min(1 + (number - 1) // 26, 64)
        return letters.upper() if form.startswith("upper") else letters
    if lower.endswith("roman") and 0 < number < 4000:
        roman = _roman(number)
        return roman.upper() if form.startswith("upper") else roman
    return f"{number:02d}" if form == "decimalZero" else str(number)


def _roman(number: int) -> str:
    out = ""
    for value, letters in (
        (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
        (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
    ):  # fmt: skip
        out += letters * (number // value)
        number %= value
    return out
