from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import cohen_kappa_score

from rung.core.errors import InputError
from rung.metrics.statistics.rating import Verdict, Vote, bradley_terry, cohen, fleiss, strengths, summarise
from rung.metrics.stats import wilson


def votes(rater: str, verdicts: str, left: str = "a", right: str = "b") -> list[Vote]:
    """One vote an example; l, r, t, b."""
    kinds: dict[str, Verdict] = {"l": "left", "r": "right", "t": "tie", "b": "bad"}
    return [Vote(f"e{i}", rater, left, right, kinds[letter]) for i, letter in enumerate(verdicts)]


def test_cohens_kappa_by_hand() -> None:
    """20 both yes, 5 yes/no, 10 no/yes, 15 both no: observed 0.7, by chance 0.5, kappa 0.4."""
    mine = ["yes"] * 25 + ["no"] * 25
    theirs = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = cohen(mine, theirs)
    assert found.value == pytest.approx(0.4)
    # The delta method (Fleiss, Cohen & Everitt 1969) has a standard error of 0.1279 here.
    assert found.low == pytest.approx(0.4 - 1.96 * 0.128, abs=0.04)
    assert found.high == pytest.approx(0.4 + 1.96 * 0.128, abs=0.04)


def test_cohens_kappa_of_several_categories_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    a, b = ([["left", "right", "tie", "bad"][i] for i in rng.integers(0, 4, 60)] for _ in range(2))
    assert cohen(a, b).value == pytest.approx(cohen_kappa_score(a, b))


def test_fleiss_kappa_of_the_known_table() -> None:
    """14 raters, 10 subjects, 5 categories: 0.210 (the example of Fleiss' kappa in the encyclopaedia)."""
    table = """0 0 0 0 14
    0 2 6 4 2
    0 0 3 5 6
    0 3 9 2 0
    2 2 8 1 1
    7 7 0 0 0
    3 2 6 3 0
    2 5 3 2 2
    6 5 2 1 0
    0 2 2 3 7"""
    counts = np.array([[float(x) for x in line.split()] for line in table.splitlines()])
    found = fleiss(counts)
    assert found.value == pytest.approx(0.210, abs=5e-4)
    assert found.low < 0.21 < found.high


def test_kappa_of_one_category() -> None:
    assert cohen(["tie"] * 5, ["tie"] * 5).value == 1.0
    assert cohen(["tie"] * 5, ["bad"] * 5).value == 0.0
    with pytest.raises(InputError):
        cohen(["tie"], ["tie"])


def test_strengths_of_two_are_the_odds() -> None:
    """30 of 40: odds of 3, so 400 log10 3 = 190.8 points apart."""
    found = strengths(votes("r", "l" * 30 + "r" * 10), prior=0)
    assert [one.rung for one in found] == ["a", "b"]
    assert found[0].elo.value - found[1].elo.value == pytest.approx(400 * math.log10(3), abs=1e-4)
    assert found[0].elo.low > 1000 > found[1].elo.high
    never_lost = strengths(votes("r", "l" * 10))
    assert never_lost[0].elo.value - never_lost[1].elo.value == pytest.approx(400 * math.log10(10.5 / 0.5), abs=1e-4)


def test_strengths_are_the_likeliest() -> None:
    """Against a general optimiser on Bradley and Terry's likelihood."""
    wins = np.array([[0, 7.5, 9, 3], [4.5, 0, 6, 5], [2, 6, 0, 4], [1, 2, 8, 0]])

    def loss(logs: np.ndarray) -> float:
        return float(sum(wins[i, j] * np.log1p(np.exp(logs[j] - logs[i])) for i in range(4) for j in range(4)))

    best = minimize(loss, np.zeros(4), method="BFGS").x
    assert bradley_terry(wins[None])[0] == pytest.approx(best - best.mean(), abs=1e-4)


def test_intervals_of_strengths_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    chance, truth, held = 0.7, 400 * math.log10(0.7 / 0.3) / 2, 0
    for seed in range(60):
        said = "".join("l" if won else "r" for won in rng.random(80) < chance)
        found = {one.rung: one.elo for one in strengths(votes("r", said), resamples=400, seed=seed)}
        held += found["a"].low <= 1000 + truth <= found["a"].high
    assert 51 <= held <= 60  # 57 expected


def test_a_summary_by_hand() -> None:
    # Bob sees the sides swapped: his "right" is Ada's "left".
    ada, bob = votes("Ada", "lllrtb"), votes("Bob", "rrrrtl", "b", "a")
    found = summarise([*ada, *bob])
    assert found.raters == (("Ada", 6), ("Bob", 6))
    (duel,) = found.duels
    assert (duel.one, duel.other, duel.examples) == ("a", "b", 6)
    assert (duel.wins, duel.losses, duel.ties, duel.bad) == (7, 2, 2, 1)
    # By example: 1, 1, 1, 1/2, 1/2, 1/4 (both bad is half, then Bob gives it to b).
    assert duel.rate.value == pytest.approx((3 + 0.5 + 0.5 + 0.25) / 6)
    (agreement,) = found.agreement
    assert (agreement.raters, agreement.items) == (("Ada", "Bob"), 6)
    # Agree on 4 of 6; by chance (3*4 + 1*1 + 1*1 + 1*0) / 36.
    assert agreement.kappa.value == pytest.approx((4 / 6 - 14 / 36) / (1 - 14 / 36))
    assert found.left is not None
    assert found.left.value == pytest.approx(4 / 9)
    assert found.side_p == pytest.approx(1.0)


def test_one_rater_without_ties_has_wilsons_interval() -> None:
    (duel,) = summarise(votes("r", "l" * 14 + "r" * 6)).duels
    assert duel.rate == wilson(14, 20)


def test_a_rater_who_always_presses_left_is_seen() -> None:
    pressed = [v for i, v in enumerate(votes("r", "l" * 20))]
    swapped = [Vote(v.example, v.rater, v.right, v.left, v.verdict) if i % 2 else v for i, v in enumerate(pressed)]
    found = summarise(swapped)
    assert found.side_p == pytest.approx(2 / 2**20)
    assert found.duels[0].rate.value == 0.5


def test_three_raters_get_pairs_and_fleiss() -> None:
    found = summarise([*votes("x", "llrr"), *votes("y", "llrr"), *votes("z", "llr")])
    assert [one.raters for one in found.agreement] == [("x", "y"), ("x", "z"), ("y", "z"), ("x", "y", "z")]
    assert [one.items for one in found.agreement] == [4, 3, 3, 4]
    assert found.agreement[-1].kappa.value == pytest.approx(1)


def test_nothing_rated_yet() -> None:
    with pytest.raises(InputError, match="nobody"):
        summarise([])


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_rung_that_always_won_has_no_strength_without_doubt(count: int) -> None:
    first, second = strengths(votes("ann", "l" * count), resamples=200)
    assert (first.rung, second.rung) == ("a", "b")
    assert first.elo.low < first.elo.value < first.elo.high
