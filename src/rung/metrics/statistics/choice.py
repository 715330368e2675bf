"""Which rung is the cheapest that is good enough, and how sure is that?

The rungs were scored on the same items, so all are compared with all under one set of resamples. The rung that looks
best probably owes part of its lead to luck (the winner's curse), so no rung is taken for "the best": each in turn is
supposed to be it, as in Hsu's multiple comparisons with the best (Hsu, Annals of Statistics 9, 1981; 12, 1984). For a
supposed best j, a critical value is found under which the differences of all others to j hold together (Dunnett 1955,
by drawing the largest shift). A rung's ``loss`` is the most by which it can be below any j under these bounds.

Guaranteed, up to the approximation of large samples: with probability LEVEL, every rung is at most its ``loss`` below
the truly best of the rungs compared, all at once; so whichever is picked, and also when the pick follows the data. In
particular, if ``shown`` is true the chosen rung is within ``tolerance`` of the best.

Not guaranteed: that the chosen rung is the best or the cheapest of those truly within the tolerance (with few items it
will often be a dearer one); that its own score will hold on new data (it was picked for being high: read its interval
with that in mind); anything about rungs that were not compared, other seeds, other models or shifted data. When
``shown`` is false the items are too few: the rung with the least ``loss`` is named, and only that loss is vouched for.
Rungs stopped early were shown to be out of reach by another test with an error rate of its own (``sequential``): the
two add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Metric
from rung.core.types import Score
from rung.metrics.mean import Mean, values_of
from rung.metrics.statistics.sequential import evidence
from rung.metrics.stats import Difference, bootstrap, holm, paired, significance, student

if TYPE_CHECKING:
    from numpy.typing import NDArray


LEVEL = 0.95
"""Confidence of all that is said."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A rung's scores, item i being the same example for all rungs, and its ``cost`` an answer in any one unit, which
    another measurement may find by ``noise`` higher or lower.

    A rung with fewer scores than others (stopped early) has those of the first items; it is compared, never chosen.
    """

    name: str
    scores: Sequence[Score]
    cost: float
    noise: float = 0.0

    def cheaper(self, other: Contender) -> bool:
        """Whether it costs less than the other by more than the noise of both: within it the two cost the same."""
        return other.cost - self.cost > math.hypot(self.noise, other.noise)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rung stands. ``versus`` is its difference to the best-looking rung on their common items: simultaneous
    interval over all pairs of rungs, p by Holm; None for that rung itself. ``loss``: see the module. ``dominated``:
    another one costs no more (but for noise) and scores no less, and differs.

    A rung with fewer items has no ``loss``. Its p (of a mean: is it worse?) allows for having been stopped because it
    looked bad (``sequential.evidence``); its interval does not, and only describes the items it has."""

    name: str
    value: float
    cost: float
    n: int
    versus: Difference | None
    loss: float | None
    dominated: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """``name`` is the rung to take, ``best`` the best-looking one. ``shown``: the chosen one's ``loss`` is within the
    tolerance at ``level``. ``alternative``: a cheaper rung that shows no difference and looks within the tolerance but
    is not proven to be (empty: none), ``needed`` about how many items would prove it if it stays as it is. ``why``:
    sentences."""

    name: str
    best: str
    shown: bool
    loss: float
    standings: tuple[Standing, ...]
    alternative: str
    needed: int
    why: tuple[str, ...]


def choose(
    metric: Metric,
    candidates: Sequence[Contender],
    *,
    tolerance: float,
    resamples: int = 10_000,
    seed: int = 0,
    say: Callable[[Contender], str] = lambda c: f"cost {c.cost:.3g}",
) -> Chosen:
    """The cheapest rung that is shown to be within ``tolerance`` (units of the metric) of the best; never a dominated
    one.

    ``say`` writes a candidate's cost with its unit into the sentences of ``why``.

    Raises InputError without candidates or scores, for two of one name or a negative tolerance.
    """
    if not candidates or len({c.name for c in candidates}) < len(candidates) or tolerance < 0:
        raise InputError(
            f"got {len(candidates)} rungs and tolerance {tolerance}, expected rungs of different names and tolerance >= 0",
            remedy="compare at least one rung",
        )
    sign = 1.0 if metric.higher_is_better else -1.0
    longest = max(len(c.scores) for c in candidates)
    full = [c for c in candidates if len(c.scores) == longest]
    values = {c.name: float(metric.reduce(c.scores)[0]) for c in candidates}
    best = max(full, key=lambda c: (sign * values[c.name], -c.cost))
    bounds = _bounds(metric, full, sign, LEVEL, resamples, seed)
    at = {c.name: i for i, c in enumerate(full)}
    dominated = {c.name: any(_dominates(o, c, values, sign) for o in full) for c in candidates}
    standings = []
    for c in candidates:
        versus = None
        if c.name in at and c.name != best.name:
            value = values[c.name] - values[best.name]
            half = bounds.wide * float(bounds.error[at[c.name], at[best.name]])
            p = significance(metric, c.scores, best.scores, resamples=resamples, seed=seed)
            versus = Difference(value, value - half, value + half, p, longest, LEVEL)
        elif c.name != best.name:
            some = best.scores[: len(c.scores)]
            versus = paired(metric, c.scores, some, level=LEVEL, resamples=resamples, seed=seed)
            if isinstance(metric, Mean):
                # It may have been stopped because it looked bad; only evidence that allows for looking gives an honest
                # p.
                path = evidence(sign * (values_of(c.scores) - values_of(some)), 0.0)
                versus = replace(versus, p=float(min(1.0, np.exp(-path.max()))))
        loss = float(bounds.loss[at[c.name]]) if c.name in at else None
        standings.append(Standing(c.name, values[c.name], c.cost, len(c.scores), versus, loss, dominated[c.name]))
    adjusted = iter(holm([s.versus.p for s in standings if s.versus is not None]))
    standings = [s if s.versus is None else replace(s, versus=replace(s.versus, p=next(adjusted))) for s in standings]
    ask = _Question(metric.name, best.name, longest, tolerance, LEVEL, sign, {c.name: c for c in candidates}, say)
    return _pick(standings, ask)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """``loss`` (k,), standard errors of the differences ``error`` (k, k), and the all-pairs critical value ``wide``."""

    loss: NDArray[np.float64]
    error: NDArray[np.float64]
    wide: float


def _bounds(metric: Metric, full: Sequence[Contender], sign: float, level: float, resamples: int, seed: int) -> _Bounds:
    k, n = len(full), len(full[0].scores)
    estimate = sign * np.array([metric.reduce(c.scores)[0] for c in full])
    if k == 1:
        return _Bounds(np.zeros(1), np.zeros((1, 1)), 0.0)
    if isinstance(metric, Mean):
        # Means of n items are close to normal with the covariance of the items: drawing from that is resampling, but
        # cheaper.
        table = sign * np.stack([values_of(c.scores) for c in full], axis=1)
        spread = np.atleast_2d(np.cov(table, rowvar=False)) / n if n > 1 else np.zeros((k, k))
        apart = np.random.default_rng(seed).multivariate_normal(np.zeros(k), spread, resamples, method="eigh")
    else:
        drawn = bootstrap(
            lambda draws: np.stack([metric.reduce(c.scores, draws) for c in full], axis=1), n, resamples, seed
        )
        apart = sign * drawn - estimate
        spread = np.cov(apart, rowvar=False)
    variance = np.maximum(np.add.outer(np.diag(spread), np.diag(spread)) - 2 * spread, 0.0)
    # Two items more, one won by each: where few items or none differ the resamples know nothing of those that might
    # (Bonett & Price 2012, for paired proportions; negligible when n is large).
    error = np.sqrt(variance + 2 / (n + 2) ** 2)
    scale = np.where(variance > 1e-18, np.sqrt(variance), np.inf)
    heavier = student(level, max(n - 1, 1)) / NormalDist().inv_cdf(level)
    reach = np.zeros(k)
    widest = np.zeros(len(apart))
    for j in range(k):
        others = np.arange(k) != j
        shifts = (apart[:, others] - apart[:, [j]]) / scale[others, j]
        critical = heavier * _quantile(shifts.max(axis=1), level, 1 - level)
        reach[others] = np.minimum(reach[others], estimate[others] - estimate[j] - critical * error[others, j])
        widest = np.maximum(widest, np.abs(shifts).max(axis=1))
    wide = heavier * _quantile(widest, level, (1 - level) / 2)
    return _Bounds(-reach, error, wide)


def _quantile(largest: NDArray[np.float64], level: float, tail: float) -> float:
    """The critical value of the largest shift, never below that of a single comparison."""
    return max(float(np.quantile(largest, level)), NormalDist().inv_cdf(1 - tail))


def _dominates(one: Contender, other: Contender, values: dict[str, float], sign: float) -> bool:
    gain = sign * (values[one.name] - values[other.name])
    return not other.cheaper(one) and gain >= 0 and (one.cheaper(other) or gain > 0)


@dataclass(frozen=True, slots=True)
class _Question:
    """What ``_pick`` decides by: ``n`` items of the ``best`` rung, costs of the candidates ``by_name``, and how a cost
    is written."""

    metric: str
    best: str
    n: int
    tolerance: float
    level: float
    sign: float
    by_name: Mapping[str, Contender]
    say: Callable[[Contender], str]

    def cheaper(self, one: Standing, other: Standing) -> bool:
        return self.by_name[one.name].cheaper(self.by_name[other.name])

    def cost(self, standing: Standing) -> str:
        return self.say(self.by_name[standing.name])


def _pick(standings: Sequence[Standing], ask: _Question) -> Chosen:
    open_ = [s for s in standings if s.loss is not None and not s.dominated]
    losses = {s.name: s.loss for s in open_ if s.loss is not None}
    good = [s for s in open_ if losses[s.name] <= ask.tolerance]
    if good:
        cheapest = min(good, key=lambda s: s.cost)
        # Of those that cost the same within the noise, the one that looks best.
        alike = [s for s in good if not ask.cheaper(cheapest, s)]
        chosen = max(alike, key=lambda s: (ask.sign * s.value, -s.cost))
    else:
        chosen = min(open_, key=lambda s: (losses[s.name], s.cost))
    loss, sure = losses[chosen.name], f"{100 * ask.level:g}% confidence"
    top = next(s for s in standings if s.name == ask.best)
    why = [f"{chosen.name}: {ask.metric} {chosen.value:.3f} on {ask.n} items at {ask.cost(chosen)}."]
    if good:
        why.append(
            f"With {sure} none of the rungs compared is better."
            if loss <= 0
            else f"With {sure} it is at most {loss:.3f} below the best rung, within the tolerance of {ask.tolerance:g}."
        )
        if rest := [s for s in alike if s is not chosen]:
            names = ", ".join(f"{s.name} ({ask.cost(s)})" for s in rest)
            why.append(f"As cheap within the noise of the measurement, and good enough: {names}.")
    else:
        why.append(
            f"{ask.n} items are too few to show any rung within {ask.tolerance:g} of the best: this one loses least, at most "
            f"{loss:.3f} with {sure}."
        )
    if chosen.versus is not None:
        v = chosen.versus
        verdict = "no difference" if v.none else "a difference"
        why.append(
            f"To {ask.best} ({top.value:.3f} at {ask.cost(top)}) the data show {verdict}: {v.value:+.3f} "
            f"[{v.low:+.3f}, {v.high:+.3f}]."
        )
    alternative, needed, told = _alternative(open_, losses, chosen, ask)
    return Chosen(
        chosen.name, ask.best, bool(good), loss, tuple(standings), alternative, needed, (*why, *filter(None, [told]))
    )


def _alternative(
    open_: Sequence[Standing], losses: Mapping[str, float], chosen: Standing, ask: _Question
) -> tuple[str, int, str]:
    """The cheapest rung below the chosen one that shows no difference, the items that would prove it, and a
    sentence."""
    for s in sorted(open_, key=lambda s: s.cost):
        if s.versus is None or not ask.cheaper(s, chosen):
            continue
        gap = ask.sign * s.versus.value
        if s.versus.none and gap >= -ask.tolerance:
            room, bound = ask.tolerance + gap, losses[s.name] + gap
            needed = math.ceil(ask.n * (bound / room) ** 2) if room > 0 else 0
            more = f" About {needed} items would tell." if needed else ""
            told = (
                f"Cheaper: {s.name} at {ask.cost(s)} shows no difference either ({s.versus.value:+.3f}), but a loss of "
                f"up to {losses[s.name]:.3f} cannot be ruled out.{more}"
            )
            return s.name, needed, told
    return "", 0, ""
