"""Exact match and accuracy: is the answer the expected one?"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from rung.core.types import Case, Score
from rung.foundations.text.words import standing, visible
from rung.metrics.mean import Mean, references, shown


def plain(value: Any) -> Any:
    """The normal form in which ``exact`` compares.

    Text: Unicode NFKC, case folded, signs that are not seen left out, runs of white space made one space, ends
    stripped; nothing else is dropped (for articles and punctuation see ``squad-em``). Other values compare as they are,
    lists and mappings item by item; numbers by value (2 equals 2.0), but True is not 1.
    """
    if isinstance(value, str):
        folded = unicodedata.normalize("NFKC", visible(value)).casefold()
        return " ".join(folded.replace("i\u0307", "i").split())  # what casefold makes of a Turkish capital
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _verdict(right: bool, case: Case) -> Score:
    if right:
        return Score(1.0, f"{shown(case.output)} as expected")
    options = references(case)
    wanted = shown(options[0]) if len(options) == 1 else "one of " + ", ".join(map(shown, options[:3]))
    return Score(0.0, f"expected {wanted}, got {shown(case.output)}")


class ExactMatch(Mean):
    """1 when the answer equals a reference after ``plain``, else 0. Several references: any."""

    name = "exact"

    def grade(self, case: Case) -> Score:
        got = plain(case.output)
        right = any(got == plain(option) for option in references(case)) or got == plain(case.reference)
        return _verdict(right, case)


class Contains(Mean):
    """1 when a reference stands in the answer after ``plain``, by itself (see ``standing``), else 0: for answers in
    sentences, where ``exact`` says nothing."""

    name = "contains"

    def grade(self, case: Case) -> Score:
        got = str(plain(str("" if case.output is None else case.output)))
        wanted = [str(plain(str(option))) for option in references(case)]
        right = any(re.search(standing(one), got) is not None for one in wanted if one)
        return Score(float(right), "it stands there" if right else f"{shown(references(case)[0])} does not stand there")


class Accuracy(Mean):
    """1 when the label is the expected one, character for character but for white space at its ends, else 0."""

    name = "accuracy"

    def grade(self, case: Case) -> Score:
        got = _label(case.output)
        return _verdict(any(got == _label(option) for option in references(case)), case)


def _label(value: Any) -> str | None:
    return None if value is None else str(value).strip()


EXACT = ExactMatch()
CONTAINS = Contains()
ACCURACY = Accuracy()
