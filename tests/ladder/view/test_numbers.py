"""A difference in words agrees with the figures beside it."""

import pytest

from rung.ladder.view.numbers import difference, said
from rung.metrics.stats import Difference


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (0.01, 0.09, 0.004, "better, p 0.004"),
        (-0.09, -0.01, 0.0001, "worse, p <0.001"),
        (-0.01, 0.09, 0.2, "no difference"),
        (0.01, 0.09, 0.12, "no difference (corrected p 0.120)"),
    ],
)
def test_no_difference_beside_an_interval_without_zero_says_why(low: float, high: float, p: float, words: str) -> None:
    change = Difference((low + high) / 2, low, high, p, 50)
    assert said(change) == words
    assert words.removeprefix("better, ").removeprefix("worse, ") in difference(change)
