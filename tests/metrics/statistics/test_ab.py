from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.metrics.statistics.ab import Arm, against_equality, look, paths


def simulate(p_a: float, p_b: float, share_b: float, runs: int, n: int, seed: int) -> np.ndarray:
    """Log evidence against equality after every score, shape (runs, n)."""
    rng = np.random.default_rng(seed)
    in_b = rng.random((runs, n)) < share_b
    wins = rng.random((runs, n)) < np.where(in_b, p_b, p_a)
    sums = [np.cumsum(what, axis=1, dtype=np.float64) for what in (~in_b, wins & ~in_b, in_b, wins & in_b)]
    return paths(*sums)


@pytest.mark.parametrize(("p", "share"), [(0.5, 0.5), (0.8, 0.1), (0.05, 0.5)])
def test_of_equal_arms_few_are_ever_told_apart(p: float, share: float) -> None:
    """400 A/A tests, a look after each of 1,000 scores; bench/ab.py does 1,000 of them, longer."""
    ever = (simulate(p, p, share, 400, 1000, seed=int(100 * p)) >= math.log(1 / 0.05)).any(axis=1)
    assert ever.mean() <= 0.05


def test_the_usual_test_would_not_do() -> None:
    """The same looks with a fixed-sample z-test at 5%: it tells far more of equal arms apart, so the test above can fail."""
    rng = np.random.default_rng(1)
    a, b = (np.cumsum(rng.random((400, 500)) < 0.5, axis=1) for _ in range(2))
    n = np.arange(1, 501)
    pooled = (a + b) / (2 * n)
    z = (a - b) / n / np.sqrt(np.maximum(2 * pooled * (1 - pooled) / n, 1e-12))
    assert (np.abs(z[:, 20:]) > 1.96).any(axis=1).mean() > 0.2


def test_graded_scores_keep_the_error_rate_too() -> None:
    rng = np.random.default_rng(5)
    scores = rng.choice([0.0, 0.25, 0.5, 1.0], size=(300, 800), p=[0.3, 0.1, 0.2, 0.4])
    in_b = rng.random(scores.shape) < 0.5
    sums = [np.cumsum(x, axis=1) for x in (1.0 * ~in_b, scores * ~in_b, 1.0 * in_b, scores * in_b)]
    assert (paths(*sums) >= math.log(20)).any(axis=1).mean() <= 0.05


def test_a_worse_arm_is_found() -> None:
    found = simulate(0.8, 0.6, 0.5, 200, 2000, seed=2) >= math.log(20)
    assert found.any(axis=1).mean() > 0.99
    assert np.median(found.argmax(axis=1)) < 700


def test_wealth_at_the_true_means_is_a_martingale() -> None:
    """Every outcome of two scores in A and one in B by its probability; the evidence is at most that wealth."""
    m = 0.3
    total = 0.0
    for outcome in product((0, 1), repeat=3):
        chance = math.prod(m if won else 1 - m for won in outcome)
        arms = Arm(2, float(outcome[0] + outcome[1])), Arm(1, float(outcome[2]))
        wealth = 1.0
        for arm in arms:
            mixed = math.gamma(arm.total + 0.5) * math.gamma(arm.n - arm.total + 0.5) / math.gamma(arm.n + 1) / math.pi
            wealth *= mixed / (m**arm.total * (1 - m) ** (arm.n - arm.total))
        assert math.exp(against_equality(*arms)) <= wealth + 1e-12
        total += chance * wealth
    assert total == pytest.approx(1)


def test_evidence_by_hand() -> None:
    """A 2 of 2, B 0 of 2: each mixture is (1/2 * 3/2) / (1 * 2) = 3/8, the pooled mean 1/2: (3/8)**2 * 2**4 = 9/4."""
    assert math.exp(against_equality(Arm(2, 2.0), Arm(2, 0.0))) == pytest.approx(9 / 4)
    column = [np.array([x]) for x in (2.0, 2.0, 2.0, 0.0)]
    assert paths(*column)[0] == pytest.approx(math.log(9 / 4))


@pytest.mark.parametrize(("a", "b"), [((100, 80), (90, 40)), ((2000, 1000), (220, 60)), ((50, 50), (50, 0))])
def test_the_sequence_is_where_the_evidence_stays_below_the_bound(a: tuple[int, float], b: tuple[int, float]) -> None:
    """Its ends by a plain grid over both means."""
    one, two = Arm(*a), Arm(*b)
    seen = look(one, two)
    assert seen.verdict == "worse"
    assert seen.p < 0.05
    mirrored = look(two, one)
    assert mirrored.verdict == "better"
    assert mirrored.difference.low == pytest.approx(-seen.difference.high, abs=1e-6)
    grid = np.linspace(1e-6, 1 - 1e-6, 1201)
    likelihood = [arm.total * np.log(grid) + (arm.n - arm.total) * np.log1p(-grid) for arm in (one, two)]
    base = against_equality(one, two)
    pooled = (one.total + two.total) / (one.n + two.n)
    top = (one.total + two.total) * math.log(pooled) + (one.n + two.n - one.total - two.total) * math.log1p(-pooled)
    wealth = base + top - (likelihood[0][:, None] + likelihood[1][None, :])
    inside = (grid[None, :] - grid[:, None])[wealth < math.log(20)]
    assert seen.difference.low == pytest.approx(inside.min(), abs=3e-3)
    assert seen.difference.high == pytest.approx(inside.max(), abs=3e-3)


def test_nothing_is_said_of_nothing() -> None:
    seen = look(Arm(), Arm(10, 5.0))
    assert (seen.verdict, seen.p, seen.difference.low, seen.difference.high) == ("open", 1.0, -1.0, 1.0)
    assert look(Arm(), Arm()).evidence == 1.0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="alpha"):
        look(Arm(), Arm(), alpha=0)
    with pytest.raises(InputError, match="sum"):
        look(Arm(1, 2.0), Arm())
