from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.core.types import Score
from rung.metrics.answers.exact import ACCURACY
from rung.metrics.labels import MACRO_F1
from rung.metrics.statistics.choice import Chosen, Contender, choose


def table(rng: np.random.Generator, quality: np.ndarray, costs: np.ndarray, n: int) -> list[Contender]:
    """Rungs that agree on a good part of the items, as rungs on one model do."""
    shared, own = rng.random((n, 1)), rng.random((n, len(quality)))
    right = np.where(rng.random((n, len(quality))) < 0.6, shared, own) < quality
    return [Contender(str(i), [Score(float(x)) for x in right[:, i]], float(cost)) for i, cost in enumerate(costs)]


def fixed(rates: dict[str, tuple[int, float]], n: int) -> list[Contender]:
    """name -> (right answers, cost); a rung that is right more often is right wherever a weaker one is."""
    return [Contender(k, [Score(float(i < hits)) for i in range(n)], cost) for k, (hits, cost) in rates.items()]


@pytest.mark.slow
def test_within_the_tolerance_in_200_simulated_tables_and_never_dominated() -> None:
    rng, within, vouched, cheap = np.random.default_rng(17), 0, 0, 0
    for t in range(200):
        k = int(rng.integers(3, 12))
        quality, costs = np.clip(rng.normal(0.7, 0.08, k), 0.05, 0.97), np.exp(rng.normal(0, 2, k))
        if t % 2:
            quality, costs = np.sort(quality), np.sort(costs)
        rungs = table(rng, quality, costs, 600)
        found = choose(ACCURACY, rungs, tolerance=0.08, resamples=2000, seed=t)
        i = int(found.name)
        gap = quality.max() - quality[i]
        within += gap <= 0.08
        vouched += all(quality.max() - quality[j] <= (s.loss or 0) + 1e-9 for j, s in enumerate(found.standings))
        cheap += costs[i] < costs[int(found.best)]
        seen = [np.mean([score.value for score in rung.scores]) for rung in rungs]
        assert not any(
            c <= costs[i] and s >= seen[i] and (c < costs[i] or s > seen[i]) for c, s in zip(costs, seen, strict=True)
        )
    assert within / 200 >= 0.95
    assert vouched / 200 >= 0.92, "all losses hold at once in 95% of tables, less the noise of 200"
    assert cheap > 20, "a rule that always takes the best would pass the rest"


def test_equal_rungs_do_not_fool_it() -> None:
    """Twelve equal rungs but one better by more than the tolerance: the winner's curse at its worst. What is vouched for
    must hold although the pick follows the data."""
    rng, wrong = np.random.default_rng(3), 0
    quality = np.array([0.6] * 11 + [0.66])
    for t in range(150):
        found = choose(ACCURACY, table(rng, quality, np.arange(1.0, 13.0), 300), tolerance=0.05, resamples=2000, seed=t)
        wrong += 0.66 - quality[int(found.name)] > found.loss + 1e-9
    assert wrong / 150 <= 0.08


def test_the_cheapest_shown_to_be_within_the_tolerance() -> None:
    found = choose(
        ACCURACY,
        fixed({"rules": (500, 0.1), "lr": (885, 1), "shots": (890, 20), "lora": (900, 30)}, 1000),
        tolerance=0.05,
    )
    assert (found.name, found.best, found.shown) == ("lr", "lora", True)
    assert found.loss <= 0.05
    assert "within the tolerance of 0.05" in found.why[1]
    standings = {s.name: s for s in found.standings}
    assert standings["lora"].versus is None
    assert standings["rules"].versus is not None
    assert standings["rules"].versus.p < 0.001
    assert not standings["rules"].versus.none


def test_too_few_items_say_so_and_name_the_cheaper_one() -> None:
    found = choose(ACCURACY, fixed({"lr": (49, 1), "lora": (50, 30)}, 60), tolerance=0.02)
    assert (found.name, found.shown, found.alternative) == ("lora", False, "lr")
    assert found.needed > 60
    assert "too few" in found.why[1]
    assert "cannot be ruled out" in found.why[-1]


def test_a_tie_goes_to_the_cheaper() -> None:
    found = choose(ACCURACY, fixed({"a": (70, 5), "b": (70, 1), "c": (20, 0.5)}, 100), tolerance=0.02)
    assert found.name == "b"
    assert {s.name for s in found.standings if s.dominated} == {"a"}


def test_stopped_rungs_are_compared_on_common_items_and_not_chosen() -> None:
    rungs = fixed({"good": (80, 2), "poor": (10, 0.1)}, 100)
    rungs[1] = Contender("poor", rungs[1].scores[:40], 0.1)
    found = choose(ACCURACY, rungs, tolerance=0.3)
    poor = found.standings[1]
    assert found.name == "good"
    assert poor.loss is None
    assert poor.n == 40
    assert poor.versus is not None
    assert poor.versus.n == 40
    assert poor.versus.value == pytest.approx(-0.75)
    assert 0 < poor.versus.p < 1e-4


def test_metrics_that_are_no_mean() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)

    def rung(name: str, rate: float, cost: float) -> Contender:
        said = np.where(rng.random(300) < rate, truth, (truth + 1) % 5)
        return Contender(name, [Score(0.0, "", (float(a), float(b))) for a, b in zip(truth, said, strict=True)], cost)

    found = choose(MACRO_F1, [rung("a", 0.5, 1), rung("b", 0.9, 2), rung("c", 0.9, 9)], tolerance=0.1, resamples=1000)
    assert found.name == "b"


def test_one_rung() -> None:
    found: Chosen = choose(ACCURACY, fixed({"only": (3, 1)}, 10), tolerance=0.0)
    assert (found.name, found.best, found.loss, found.shown) == ("only", "only", 0.0, True)


def test_bad_input() -> None:
    with pytest.raises(InputError):
        choose(ACCURACY, [], tolerance=0.1)
    with pytest.raises(InputError):
        choose(ACCURACY, fixed({"a": (1, 1)}, 2) * 2, tolerance=0.1)
    with pytest.raises(InputError):
        choose(ACCURACY, fixed({"a": (1, 1)}, 2), tolerance=-1)
