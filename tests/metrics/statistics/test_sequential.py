from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.core.types import Score
from rung.metrics.answers.exact import ACCURACY
from rung.metrics.labels import MACRO_F1
from rung.metrics.statistics.sequential import Race, evidence

TOLERANCE = 0.05


def simulate(gap: float, alike: float, races: int, items: int, seed: int) -> np.ndarray:
    """0/1 differences of shape (races, items): mean -gap, a share ``alike`` of items decided by one shared draw."""
    rng = np.random.default_rng(seed)
    rival = rng.random((races, items))
    mine = np.where(rng.random((races, items)) < alike, rival, rng.random((races, items)))
    return (mine < 0.7 - gap).astype(float) - (rival < 0.7)


def stopped(differences: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Item at which each race stops; 0: never. Looks after every item, the hardest case."""
    paths = np.stack([evidence(row, TOLERANCE) for row in differences])
    crossed = paths >= np.log(1 / alpha)
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, 0)


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("gap", [0.0, 0.03, TOLERANCE])
def test_a_rung_within_the_tolerance_is_seldom_stopped(gap: float, alike: float) -> None:
    """1,000 races for each case; alpha is 0.05 and the gap of exactly the tolerance is the worst case."""
    at = stopped(simulate(gap, alike, 1000, 300, seed=int(100 * gap + 10 * alike)))
    assert np.mean(at > 0) <= 0.05


def test_graded_scores_keep_the_error_rate_too() -> None:
    rng = np.random.default_rng(3)
    differences = np.clip(rng.normal(-TOLERANCE, 0.25, (1000, 300)), -1, 1)
    assert np.mean(stopped(differences) > 0) <= 0.05


@pytest.mark.parametrize(("alike", "by"), [(0.0, 150), (0.8, 80)])
def test_a_hopeless_rung_is_stopped_early(alike: float, by: int) -> None:
    at = stopped(simulate(0.3, alike, 300, 500, seed=1))
    assert np.mean(at > 0) > 0.99
    assert np.median(at[at > 0]) <= by


def test_wealth_is_a_martingale_at_the_boundary() -> None:
    """Every sequence of three fair differences, weighted by its probability: the mean wealth stays exactly 1."""
    tolerance, values = 0.2, np.array([1.0, 0.0, -1.0])
    chances = np.array([0.1, 0.6, 0.3])  # mean -0.2
    total = sum(
        chances[i] * chances[j] * chances[k] * np.exp(evidence(values[[i, j, k]], tolerance)[-1])
        for i in range(3) for j in range(3) for k in range(3)
    )  # fmt: skip
    assert total == pytest.approx(1)


def test_race_reads_waves_like_one_list() -> None:
    differences = simulate(0.4, 0.5, 1, 200, seed=2)[0]
    first = stopped(differences[None, :])[0]
    race = Race(TOLERANCE)
    said = ""
    for start in range(0, 200, 16):
        wave = differences[start : start + 16]
        mine, theirs = [Score(float(d > 0)) for d in wave], [Score(float(d < 0)) for d in wave]
        if said := race.look(ACCURACY, mine, theirs):
            break
    assert start < first <= start + 16
    assert said.startswith(f"stopped after {start + 16} test examples")
    assert said.endswith("than")


def test_more_rivals_ask_for_more_evidence() -> None:
    assert Race(0.02, rivals=12).bound == pytest.approx(np.log(12 / 0.05))


def test_metrics_that_are_no_mean_are_never_stopped() -> None:
    race = Race(0.02)
    lost, won = [Score(0.0, "", (1.0, 2.0))] * 200, [Score(1.0, "", (1.0, 1.0))] * 200
    assert race.look(MACRO_F1, lost, won) == ""
    assert race.look(ACCURACY, lost, won)
    assert not Race(0.02).look(ACCURACY, won, lost)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="outside"):
        evidence([2.0], 0.1)
    with pytest.raises(InputError, match="tolerance"):
        evidence([0.0], 1.0)
    with pytest.raises(InputError, match="pairs"):
        Race(0.1).look(ACCURACY, [Score(1.0)], [])
    with pytest.raises(InputError, match="alpha"):
        Race(0.1, alpha=0)
    assert evidence([], 0.1).shape == (0,)
