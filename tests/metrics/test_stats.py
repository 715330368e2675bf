from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats as peer
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from rung.core.errors import InputError
from rung.core.types import Case, Score
from rung.metrics import stats
from rung.metrics.answers.exact import ACCURACY
from rung.metrics.labels import MACRO_F1, MICRO_F1
from rung.metrics.texts.bleu import BLEU, CHRF
from rung.metrics.texts.overlap import TOKEN_F1


def of(values: object) -> list[Score]:
    return [Score(float(value)) for value in np.asarray(values)]


def graded(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Like token F1: many 0 and 1, the rest between. Mean 0.3 + 0.4 * 0.4."""
    u = rng.random(shape)
    return np.where(u < 0.3, 0.0, np.where(u < 0.6, 1.0, rng.beta(2, 3, shape)))


# ---------------------------------------------------------------- against scipy


@pytest.mark.parametrize(("successes", "n", "level"), [(0, 10, 0.95), (7, 10, 0.9), (10, 10, 0.95), (431, 1000, 0.99)])
def test_wilson(successes: int, n: int, level: float) -> None:
    expected = peer.binomtest(successes, n).proportion_ci(level, method="wilson")
    found = stats.wilson(successes, n, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert stats.interval(ACCURACY, of([1] * successes + [0] * (n - successes)), level=level) == found


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar(only_a: int, only_b: int) -> None:
    expected = peer.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert stats.mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_is_exact_for_thousands() -> None:
    assert stats.mcnemar(3000, 2800) == pytest.approx(peer.binomtest(2800, 5800).pvalue, rel=1e-9)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_agrees_with_scipy(method: str) -> None:
    values = graded(np.random.default_rng(4), 400)
    expected = peer.bootstrap((values,), np.mean, n_resamples=20_000, method=method, random_state=1)
    low, high = expected.confidence_interval
    found = stats.interval(TOKEN_F1, of(values), method=method, resamples=20_000)  # type: ignore[arg-type]
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.0015)


def test_generic_path_agrees_with_the_mean_path() -> None:
    """The two draw in other chunks, so they agree but for the noise of 10,000 resamples (a tenth of a standard error)."""

    class Same:
        """The mean, but not known to be one."""

        name, higher_is_better = "same", True
        score, reduce = TOKEN_F1.score, TOKEN_F1.reduce

    rng = np.random.default_rng(5)
    a, b = of(graded(rng, 120)), of(graded(rng, 120))
    mine, theirs = stats.interval(Same(), a), stats.interval(TOKEN_F1, a)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=4e-3)
    general, special = stats.paired(Same(), a, b), stats.paired(TOKEN_F1, a, b)
    assert (general.low, general.high) == pytest.approx((special.low, special.high), abs=4e-3)
    assert general.p == pytest.approx(special.p, abs=0.02)


def test_permutation() -> None:
    rng = np.random.default_rng(6)
    for n in (9, 40):
        d = rng.normal(0.3, 1, n)
        expected = peer.permutation_test(
            (d, np.zeros(n)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
            vectorized=True, n_resamples=20_000, random_state=0,
        ).pvalue  # fmt: skip
        assert stats.permutation(d) == pytest.approx(expected, abs=1e-9 if n == 9 else 0.015)
    assert stats.permutation(np.zeros(5)) == 1
    binary = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)
    assert stats.permutation(binary) == pytest.approx(stats.mcnemar(9, 2))


@pytest.mark.parametrize(("freedom", "q"), [(1, 0.975), (2, 0.9), (4, 0.975), (49, 0.95), (400, 0.995)])
def test_student(freedom: int, q: float) -> None:
    assert stats.student(q, freedom) == pytest.approx(peer.t.ppf(q, freedom), rel=1e-9)


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(10, 4, 50), (0, 0, 30), (5, 0, 20), (30, 25, 100), (0, 12, 12)])
def test_tango_inverts_the_score_test(only_a: int, only_b: int, n: int) -> None:
    """At both ends the score statistic, with the nuisance rate found by brute force, is the normal's quantile."""
    found = stats.tango(only_a, only_b, n)
    for delta in (found.low, found.high):
        if abs(delta) > 1 - 1e-6:
            continue

        def cost(q: float, delta: float = delta) -> float:
            cells = ((only_a, q + delta), (only_b, q), (n - only_a - only_b, 1 - 2 * q - delta))
            return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

        q = minimize_scalar(
            cost, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-12}
        ).x
        z = (only_a - only_b - n * delta) / math.sqrt(n * (2 * q + delta - delta * delta))
        assert abs(z) == pytest.approx(1.959964, abs=2e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm(p: list[float]) -> None:
    found = stats.holm(p)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate([min(1.0, (len(p) - i) * p[j]) for i, j in enumerate(order)])
    assert [found[j] for j in order] == pytest.approx(list(steps))
    assert all(a >= b for a, b in zip(found, p, strict=True))


# ---------------------------------------------------------------- coverage by simulation


@pytest.mark.parametrize("n", [50, 200])
def test_interval_covers_graded_scores(n: int) -> None:
    rng, hits, trials = np.random.default_rng(n), 0, 600
    for values in graded(rng, trials, n):
        found = stats.interval(TOKEN_F1, of(values), resamples=600)
        hits += found.low <= 0.46 <= found.high
    assert 0.925 <= hits / trials <= 0.975


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("rates", [(0.2, 0.1), (0.1, 0.1)])
def test_paired_interval_covers_binary_scores(n: int, rates: tuple[float, float]) -> None:
    rng, hits = np.random.default_rng(n), 0
    for only_a, only_b, _ in rng.multinomial(n, [*rates, 1 - sum(rates)], 1500).tolist():
        found = stats.tango(only_a, only_b, n)
        hits += found.low <= rates[0] - rates[1] <= found.high
    assert 0.93 <= hits / 1500 <= 0.97


def test_p_values_are_not_too_small_when_nothing_differs() -> None:
    rng, low = np.random.default_rng(9), 0
    for _ in range(300):
        shared = rng.normal(size=60)
        a, b = (np.clip(0.5 + 0.2 * shared + 0.2 * rng.normal(size=60), 0, 1) for _ in range(2))
        low += stats.paired(TOKEN_F1, of(a), of(b), resamples=300).p <= 0.05
    assert low / 300 <= 0.09


# ---------------------------------------------------------------- edges


def test_identical_rungs_are_no_difference_but_not_certainty() -> None:
    right = of([1] * 40 + [0] * 10)
    same = stats.paired(ACCURACY, right, right)
    assert (same.value, same.p, same.none) == (0.0, 1.0, True)
    assert same.low < -0.05 < 0.05 < same.high
    graded_same = stats.paired(TOKEN_F1, of([0.5] * 50), of([0.5] * 50))
    assert graded_same.low == pytest.approx(-(1 - 0.025 ** (1 / 50)))


def test_all_right_keeps_a_lower_end_below_one() -> None:
    found = stats.interval(TOKEN_F1, of([0.7] * 30))
    assert found.low < 0.7 < found.high < 1
    assert stats.interval(ACCURACY, of([1] * 30)).low == pytest.approx(30 / (30 + 1.959964**2))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tiny_samples_give_finite_ordered_ends(n: int) -> None:
    for metric, scores in ((TOKEN_F1, of(np.linspace(0.2, 0.9, n))), (ACCURACY, of([1, 0, 1][:n]))):
        found = stats.interval(metric, scores)
        assert 0 <= found.low <= found.value <= found.high <= 1
        other = stats.paired(metric, scores, scores[::-1])
        assert -1 <= other.low <= other.high <= 1
    labels = [Score(1.0, "", (1.0, 1.0)), Score(0.0, "", (1.0, 2.0)), Score(1.0, "", (2.0, 2.0))][:n]
    assert math.isfinite(stats.interval(MACRO_F1, labels).low)
    assert math.isfinite(stats.paired(MACRO_F1, labels, labels[::-1]).p)


def test_same_seed_same_interval_and_another_seed_another() -> None:
    scores = of(graded(np.random.default_rng(1), 100))
    assert stats.interval(TOKEN_F1, scores) == stats.interval(TOKEN_F1, scores)
    assert stats.interval(TOKEN_F1, scores) != stats.interval(TOKEN_F1, scores, seed=1)


def test_a_clear_difference_is_found_by_any_metric() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 200)
    good = [Score(0.0, "", (float(t), float(t if rng.random() < 0.9 else 9))) for t in truth]
    poor = [Score(0.0, "", (float(t), float(t if rng.random() < 0.6 else 9))) for t in truth]
    found = stats.paired(MACRO_F1, good, poor, resamples=2000)
    assert found.low > 0
    assert found.p < 0.001
    assert not found.none


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.interval(ACCURACY, []),
        lambda: stats.interval(ACCURACY, of([1]), level=95),
        lambda: stats.interval(TOKEN_F1, of([0.1, 0.2]), resamples=0),
        lambda: stats.paired(ACCURACY, of([1, 0]), of([1])),
        lambda: stats.wilson(3, 2),
        lambda: stats.tango(3, 3, 5),
    ],
)
def test_bad_input_says_what_was_got(call: object) -> None:
    with pytest.raises(InputError, match="got"):
        call()  # type: ignore[operator]


def test_bootstrap_is_fast_enough() -> None:
    """10,000 resamples over 1,000 items take 0.03 s of CPU on an idle machine; ten times that passes here, as a busy one shares its caches."""
    scores = of(graded(np.random.default_rng(0), 1000))
    took = []
    for _ in range(3):
        start = time.process_time()
        stats.interval(TOKEN_F1, scores)
        took.append(time.process_time() - start)
    assert min(took) < 0.3


@pytest.mark.parametrize("n", [1, 2, 7, 50])
@pytest.mark.parametrize("value", [0.0, 1.0])
async def test_no_interval_is_a_point_where_every_item_is_alike(n: int, value: float) -> None:
    """All right (or all wrong) says little of the items that were not seen, and one item next to nothing."""
    said = ["north is up"] * n
    cases = [Case({"x": ""}, text if value else "no such words here", text) for text in said]
    for metric in (MACRO_F1, MICRO_F1, BLEU, CHRF):
        scores = await metric.score(cases)
        found = stats.interval(metric, scores)
        exact = stats.wilson(round(value * n), n)
        if found.value in (0.0, 1.0):
            assert found.high - found.low > (exact.high - exact.low) / 2
            assert found.low <= found.value <= found.high
        change = stats.paired(metric, scores, scores)
        assert change.low < 0 < change.high
        assert change.none


@pytest.mark.parametrize(
    "values", [[0.4], [0.2, 0.9], [0.999999, 1.0, 1.0], [0.98, 1.0, 1.0, 1.0, 1.0], [0.0, 0.001], [1.5, 3.0]]
)
def test_a_few_items_that_are_nearly_alike_prove_little(values: list[float]) -> None:
    found = stats.interval(TOKEN_F1, of(values), resamples=500)
    assert found.low <= found.value <= found.high
    assert found.high - found.low > 0.3
    change = stats.paired(TOKEN_F1, of(values), of([0.3] * len(values)), resamples=500)
    assert change.low <= change.value <= change.high
    assert change.high - change.low > 0.3
