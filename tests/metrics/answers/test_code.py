"""Fill-in-the-middle metrics."""

from __future__ import annotations

import random

import pytest

from rung.core.types import Case
from rung.metrics.answers.code import CODE_EXACT, EDIT_SIMILARITY, distance


def case(output: str, reference: str = "self.assertEqual(a, b)") -> Case:
    return Case({"before": "x"}, output, reference)


def test_distance_is_levenshteins() -> None:
    assert distance("kitten", "sitting") == 3
    assert distance("", "abc") == distance("abc", "") == 3
    rng = random.Random(0)
    for _ in range(200):
        a, b, c = ("".join(rng.choices("ab(", k=rng.randint(0, 9))) for _ in range(3))
        assert distance(a, b) == distance(b, a) <= max(len(a), len(b))
        assert distance(a, c) <= distance(a, b) + distance(b, c)


@pytest.mark.parametrize(
    ("output", "exact"),
    [
        ("self.assertEqual(a, b)", 1.0),
        ("self.assertEqual(a, b)  \nreturn a", 1.0),  # went on behind the gap
        ("```python\nself.assertEqual(a, b)\n```", 1.0),
        ("self.assertequal(a, b)", 0.0),  # capitals count in code
        ("self.assertEqual(a,b)", 0.0),
        ("", 0.0),
    ],
)
def test_exact_is_letter_by_letter(output: str, exact: float) -> None:
    assert CODE_EXACT.grade(case(output)).value == exact


def test_similarity_falls_with_edits_and_counts_only_the_gaps_lines() -> None:
    whole = EDIT_SIMILARITY.grade(case("self.assertEqual(a, b)\nx = 1")).value
    near = EDIT_SIMILARITY.grade(case("self.assertEqual(a, c)")).value
    far = EDIT_SIMILARITY.grade(case("print")).value
    assert whole == 1.0
    assert near == pytest.approx(1 - 1 / 22)
    assert far < near
    assert EDIT_SIMILARITY.grade(Case({}, "pass", ["return", "pass"])).value == 1.0
    assert EDIT_SIMILARITY.grade(case("y" * 100_000)).value < 0.05
