"""Intervals and tests over scores: what is noise and what is not.

Which method is used follows from the metric:

=====================  ==================================  =========================================
scores                 interval of one rung                difference of two rungs on the same items
=====================  ==================================  =========================================
mean of 0/1 values     Wilson (1927)                       Tango (1998) interval, exact McNemar p
mean of other values   BCa bootstrap                       BCa bootstrap of the differences, sign-flip permutation p
anything else          BCa bootstrap through ``reduce``    the same draws for both, swap permutation p
=====================  ==================================  =========================================

The bootstrap resamples items (Efron & Tibshirani 1993): BCa corrects bias and skew (Efron 1987), and its levels are
widened as Student's t widens the normal's, for small n (Hesterberg 2015, "expanded percentile"). All of it speaks of
the population that the items are a random sample of, and takes them as independent. It says nothing of the spread
between training seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Metric
from rung.core.types import Interval, Score
from rung.metrics.mean import Mean, check_scores, values_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["auto", "percentile", "bca"]

_NORMAL = NormalDist()
_CHUNK = 1 << 16
"""Indices drawn at once for means: half a MiB, so that a chunk and what is gathered through it stay in a core's
cache."""
_CALL = 1 << 19
"""Indices handed to one call of a metric's ``reduce``: enough that reading the scores anew for each call does not
count."""
_SAME = 1e-12
"""Resampled values that differ by less are all one value."""
FEW = 8
"""Fewer items than these are few."""
_EXACT = 13
"""Up to this many differing items every one of the 2**m sign flips is tried."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``value`` is a minus b over ``n`` common items, with the interval at ``level`` and the two-sided ``p`` of no
    difference."""

    value: float
    low: float
    high: float
    p: float
    n: int
    level: float = 0.95

    @property
    def none(self) -> bool:
        """True when the interval holds 0: the data show no difference."""
        return self.low <= 0.0 <= self.high


# ---------------------------------------------------------------- one rung


def interval(
    metric: Metric,
    scores: Sequence[Score],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    method: Method = "auto",
) -> Interval:
    """The metric over ``scores`` with its interval.

    ``auto`` chooses as the module says; ``percentile`` and ``bca`` force that bootstrap. Raises InputError without
    scores or for a level outside (0, 1).
    """
    check_scores(scores)
    _check_level(level)
    if isinstance(metric, Mean):
        values = values_of(scores)
        if method == "auto" and _binary(values):
            return wilson(int(values.sum()), len(values), level)
        return _mean_interval(values, level, resamples, seed, method, (0.0, 1.0))
    estimate = float(metric.reduce(scores)[0])

    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        return metric.reduce(scores, draws)

    replicates = bootstrap(reduce, len(scores), resamples, seed)
    if np.ptp(replicates) < _SAME:
        return _constant(estimate, len(scores), level, min(0.0, estimate), max(1.0, estimate))
    skew = 0.0 if method == "percentile" else _acceleration(_jackknife(reduce, len(scores), seed))
    low, high = _ends(estimate, replicates, skew, len(scores), level, method)
    return _widened(Interval(estimate, low, high, level), len(scores), min(0.0, estimate), max(1.0, estimate))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (JASA 1927). Raises InputError unless 0 <= successes <= n and n > 0."""
    if n <= 0 or not 0 <= successes <= n:
        raise InputError(f"got {successes} of {n}, expected 0 <= successes <= n and n > 0", remedy="check the counts")
    _check_level(level)
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At the ends the formula is exact but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(p, low, high, level)


# ---------------------------------------------------------------- two rungs


def share(true: Sequence[bool] | NDArray[np.bool_]) -> Interval:
    """The share of items of which something is true, with Wilson's interval."""
    return wilson(int(np.sum(true)), len(true))


def paired(
    metric: Metric,
    scores_a: Sequence[Score],
    scores_b: Sequence[Score],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The metric's difference a - b, item i of both being the same example, with interval and p-value.

    Methods as the module says. p is of the hypothesis that a's and b's outcomes could be swapped on every item.
    Raises InputError when the lengths differ or are 0.
    """
    n = _check_pairs(scores_a, scores_b)
    _check_level(level)
    p = significance(metric, scores_a, scores_b, resamples=resamples, seed=seed)
    if isinstance(metric, Mean):
        a, b = values_of(scores_a), values_of(scores_b)
        if _binary(a) and _binary(b):
            span = tango(int((a > b).sum()), int((b > a).sum()), n, level)
        else:
            span = _mean_interval(a - b, level, resamples, seed, "bca", (-1.0, 1.0))
        return Difference(span.value, span.low, span.high, p, n, level)

    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        return metric.reduce(scores_a, draws) - metric.reduce(scores_b, draws)

    value = float(metric.reduce(scores_a)[0] - metric.reduce(scores_b)[0])
    least, most = min(-1.0, value), max(1.0, value)
    replicates = bootstrap(reduce, n, resamples, seed)
    if np.ptp(replicates) < _SAME:
        span = _constant(value, n, level, least, most)
    else:
        low, high = _ends(value, replicates, _acceleration(_jackknife(reduce, n, seed)), n, level, "bca")
        span = _widened(Interval(value, low, high, level), n, least, most)
    return Difference(value, span.low, span.high, p, n, level)


def significance(
    metric: Metric, scores_a: Sequence[Score], scores_b: Sequence[Score], *, resamples: int = 10_000, seed: int = 0
) -> float:
    """The p-value of ``paired`` alone. Raises InputError when the lengths differ or are 0."""
    _check_pairs(scores_a, scores_b)
    if not isinstance(metric, Mean):
        return _swap(metric, scores_a, scores_b, resamples, seed)
    a, b = values_of(scores_a), values_of(scores_b)
    if _binary(a) and _binary(b):
        return mcnemar(int((a > b).sum()), int((b > a).sum()))
    return permutation(a - b, resamples, seed)


def _check_pairs(scores_a: Sequence[Score], scores_b: Sequence[Score]) -> int:
    check_scores(scores_a)
    if len(scores_b) != len(scores_a):
        raise InputError(
            f"got {len(scores_a)} and {len(scores_b)} scores, expected pairs",
            remedy="compare the rungs on their common items",
        )
    return len(scores_a)


def tango(only_a: int, only_b: int, n: int, level: float = 0.95) -> Interval:
    """Tango's score interval of the difference of two paired proportions (Statistics in Medicine 17, 1998, p. 891).

    ``only_a`` of ``n`` items were right for a alone, ``only_b`` for b alone. Unlike a bootstrap it does not claim
    certainty when few items or none differ (Fagerland, Lydersen & Laake 2014 recommend it).
    """
    if n <= 0 or only_a < 0 or only_b < 0 or only_a + only_b > n:
        raise InputError(f"got {only_a} and {only_b} of {n} differing items", remedy="check the counts")
    _check_level(level)
    z = _NORMAL.inv_cdf(0.5 + level / 2)
    value = (only_a - only_b) / n

    def statistic(delta: float) -> float:
        # q: maximum-likelihood probability of "b alone" given that the true difference is delta.
        linear = -only_a - only_b + (2 * n - only_a + only_b) * delta
        constant = -only_b * delta * (1 - delta)
        q = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return (only_a - only_b - n * delta) / math.sqrt(variance) if variance > 0 else math.inf

    def end(inner: float, outer: float) -> float:
        for _ in range(60):
            middle = (inner + outer) / 2
            if abs(statistic(middle)) <= z:
                inner = middle
            else:
                outer = middle
        return (inner + outer) / 2

    return Interval(value, end(value, -1.0), end(value, 1.0), level)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar p-value: of the items that just one got right, ``only_a`` and ``only_b``, is the split a
    fair coin's?"""
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def permutation(differences: Sequence[float] | NDArray[np.float64], resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the paired (sign-flip) permutation test that the mean difference is 0.

    Exact when at most 13 differences are not 0, else (1 + hits) / (1 + resamples) over random flips (Phipson & Smyth
    2010).
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    bound = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) <= _EXACT:
        flips = (np.arange(1 << len(values))[:, None] >> np.arange(len(values))) & 1
        return float((np.abs((1 - 2 * flips) @ values) >= bound).mean())
    rng, hits = np.random.default_rng(seed), 0
    for rows in _chunks(resamples, len(values), _CHUNK):
        bits = np.unpackbits(rng.integers(0, 256, (rows, -(-len(values) // 8)), dtype=np.uint8), axis=1)
        # A flip takes a value off twice: sum - 2 * (flipped part).
        flipped = bits[:, : len(values)].astype(np.float64) @ values
        hits += int((np.abs(values.sum() - 2 * flipped) >= bound).sum())
    return (1 + hits) / (1 + resamples)


def _swap(metric: Metric, a: Sequence[Score], b: Sequence[Score], resamples: int, seed: int) -> float:
    """Permutation p for any metric: on each item a's and b's scores change places with probability one half."""
    n, both, hits = len(a), [*a, *b], 0
    rng = np.random.default_rng([seed, 1])
    items = np.arange(n, dtype=np.intp)
    bound = abs(float(metric.reduce(a)[0] - metric.reduce(b)[0])) - 1e-12
    for rows in _chunks(resamples, 2 * n, _CALL):
        swapped = rng.integers(0, 2, (rows, n), dtype=np.int8).astype(np.intp) * n
        change = metric.reduce(both, items + swapped) - metric.reduce(both, items + (n - swapped))
        hits += int((np.abs(change) >= bound).sum())
    return (1 + hits) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979), in the order given: comparing each with alpha bounds the chance of any false
    alarm among them by alpha, whatever their dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


# ---------------------------------------------------------------- bootstrap


def bootstrap(
    reduce: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    n: int,
    resamples: int,
    seed: int,
    chunk: int = _CALL,
) -> NDArray[np.float64]:
    """``reduce`` over ``resamples`` rows of ``n`` item indices drawn with replacement, about ``chunk`` indices at a
    time; its rows joined. The draws depend on (n, resamples, seed, chunk) alone."""
    rng = np.random.default_rng(seed)
    kind = np.uint16 if n < 1 << 16 else np.uint32
    return np.concatenate(
        [reduce(rng.integers(0, n, (rows, n), dtype=kind).astype(np.intp)) for rows in _chunks(resamples, n, chunk)]
    )


def _chunks(rows: int, width: int, chunk: int) -> list[int]:
    if rows < 1:
        raise InputError(f"got {rows} resamples, expected at least 1", remedy="leave resamples at 10,000")
    step = max(1, min(rows, chunk // max(width, 1)))
    return [min(step, rows - start) for start in range(0, rows, step)]


def _mean_interval(
    values: NDArray[np.float64], level: float, resamples: int, seed: int, method: Method, scale: tuple[float, float]
) -> Interval:
    n, mean = len(values), float(values.mean())
    least, most = min(scale[0], float(values.min())), max(scale[1], float(values.max()))
    if np.ptp(values) == 0:
        return _constant(mean, n, level, least, most)
    replicates = bootstrap(lambda draws: values.take(draws).mean(axis=1), n, resamples, seed, _CHUNK)
    skew = 0.0 if method == "percentile" else _acceleration(-values)
    low, high = _ends(mean, replicates, skew, n, level, method)
    return _widened(Interval(mean, max(low, least), min(high, most), level), n, least, most)


def percentiles(value: float, replicates: NDArray[np.float64], n: int, least: float, most: float) -> Interval:
    """The 95% percentile interval of a number on the scale ``least`` to ``most`` from its resampled values over ``n``
    items."""
    if np.ptp(replicates) < _SAME:
        return _constant(value, n, 0.95, least, most)
    low, high = np.quantile(replicates, [0.025, 0.975])
    return _widened(Interval(value, float(low), float(high)), n, least, most)


def _widened(span: Interval, n: int, least: float, most: float) -> Interval:
    """Of a few items the resamples know too little: what was not seen counts, as where nothing varies."""
    if n >= FEW:
        return span
    other = _constant(span.value, n, span.level, least, most)
    return Interval(span.value, min(span.low, other.low), max(span.high, other.high), span.level)


def _constant(value: float, n: int, level: float, least: float, most: float) -> Interval:
    """Nothing varies, so there is nothing to resample. With confidence ``level`` at most a share of the population
    differs from what was seen (as in the rule of three); at worst it lies at an end of the scale."""
    share = 1 - ((1 - level) / 2) ** (1 / n)
    return Interval(value, value - share * (value - least), value + share * (most - value), level)


def _ends(
    estimate: float, replicates: NDArray[np.float64], skew: float, n: int, level: float, method: Method
) -> tuple[float, float]:
    """The interval's ends: quantiles of the sorted replicates at levels corrected for bias, skew and small n."""
    tail = (1 - level) / 2
    if method == "percentile":
        low, high = np.quantile(replicates, [tail, 1 - tail])
        return float(low), float(high)
    span = max(float(np.ptp(replicates)), 1e-300)
    # Ties count half: with coarse values many replicates equal the estimate.
    below = float(np.mean(replicates < estimate - 1e-9 * span) + np.mean(replicates <= estimate + 1e-9 * span)) / 2
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (2 * len(replicates))), 1 - 1 / (2 * len(replicates))))
    wide = student(1 - tail, n - 1) * math.sqrt(n / (n - 1))

    def at(z: float) -> float:
        shifted = bias + z
        room = 1 - skew * shifted
        return _NORMAL.cdf(bias + shifted / room) if room > 0 else float(z > 0)

    low, high = np.quantile(replicates, [at(-wide), at(wide)])
    return float(low), float(high)


def student(q: float, freedom: int) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 1), q))


def _jackknife(reduce: Callable[[NDArray[np.intp]], NDArray[np.float64]], n: int, seed: int) -> NDArray[np.float64]:
    """The value with each of up to 250 equal groups of items left out; the groups are drawn at random."""
    groups = min(n, 250)
    size = n // groups
    order = np.random.default_rng([seed, 2]).permutation(n)
    rows = np.stack([np.delete(order, np.s_[g * size : (g + 1) * size]) for g in range(groups)])
    step = max(1, _CALL // n)
    return np.concatenate([reduce(rows[start : start + step]) for start in range(0, groups, step)])


def _acceleration(left_out: NDArray[np.float64]) -> float:
    """BCa's acceleration from jackknife values: their skewness over 6 root n (Efron & Tibshirani 1993, eq. 14.15)."""
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum())
    return float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def _binary(values: NDArray[np.float64]) -> bool:
    return bool(np.all((values == 0) | (values == 1)))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"got level {level}, expected a number between 0 and 1", remedy="write level=0.95")
