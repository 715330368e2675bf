from __future__ import annotations

from typing import Any

import pytest

from rung.core.types import Case
from rung.metrics.answers.exact import ACCURACY, CONTAINS, EXACT


@pytest.mark.parametrize(
    ("output", "reference", "right"),
    [
        ("  Card\tArrival ", "card arrival", True),
        ("ﬁne", "FINE", True),
        ("Straße", "STRASSE", True),
        ("the card", "card", False),
        ("card.", "card", False),
        (2, 2.0, True),
        (True, 1, False),
        ("b", ["a", "B"], True),
        (["a", "b"], ["A", "b"], True),
        ({"x": "A "}, {"x": "a"}, True),
        (None, "x", False),
        ("", [], False),
    ],
)
def test_exact(output: Any, reference: Any, right: bool) -> None:
    assert EXACT.grade(Case({}, output, reference)).value == float(right)


@pytest.mark.parametrize(
    ("output", "reference", "right"),
    [
        ("It was built by Marta  LINDQVIST in 1871.", "Marta Lindqvist", True),
        ("in 1871.", "187", False),
        ("a+b", "a+b", True),
        ("It is b or c.", ["A", "B"], True),
        ("Wales", "ale", False),
        (None, "x", False),
        ("x", "", False),
        (1871, 1871, True),
        ("答案是北京市", "北京", True),
        ("我用Python写", "Python", True),
        ("It is C++.", "C", False),
        ("5,000 of -5 and 1.5", "5", False),
        ("x = 5.", "5", True),
        ("İSTANBUL", "istanbul", True),
    ],
)
def test_contains(output: Any, reference: Any, right: bool) -> None:
    assert CONTAINS.grade(Case({}, output, reference)).value == float(right)


def test_accuracy_is_stricter_than_exact() -> None:
    assert ACCURACY.grade(Case({}, " pin ", "pin")).value == 1
    assert ACCURACY.grade(Case({}, "PIN", "pin")).value == 0
    assert ACCURACY.grade(Case({}, None, "None")).value == 0
    assert ACCURACY.grade(Case({}, 3, "3")).value == 1


def test_why_names_both() -> None:
    score = ACCURACY.grade(Case({}, "card_linking", "card_arrival"))
    assert score.why == "expected 'card_arrival', got 'card_linking'"
    assert len(ACCURACY.grade(Case({}, "x" * 10_000, "y")).why) < 120
