"""Two kinds of metric: the mean of one value an item, and a number computed from sums over all items; and what several
tries at one item say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.types import Case, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Mean(ABC):
    """A metric that is the mean of its items' values, each between 0 and 1.

    Only for these is a paired difference an average, so only these can be watched by
    ``rung.metrics.statistics.sequential`` and get closed-form tests in ``rung.metrics.stats``. A failed case scores 0.
    """

    name: str
    higher_is_better = True

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        """One Score a case, in order; a case with a failure gets 0 and the failure as ``why``."""
        return [failed(case) if case.failure is not None else self.grade(case) for case in cases]

    def grade(self, case: Case) -> Score:
        """Score one case that has an output. Metrics that need a batch (a model, an embedder) override ``score``
        instead."""
        raise NotImplementedError

    def reduce(self, scores: Sequence[Score], draws: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """Mean value for each row of ``draws`` (resamples, n); without draws shape (1,). Raises InputError without
        scores."""
        values = values_of(scores)
        if draws is None:
            return np.array([values.mean()])
        means: NDArray[np.float64] = values.take(draws).mean(axis=1)
        return means


class _Values(Mean):
    name = "value"


VALUES = _Values()
"""A plain mean of numbers that something else has computed, for intervals and differences of them."""


class CorpusMetric(ABC):
    """A metric computed from the items' ``parts`` added up, as BLEU is: not the mean of the values shown for each
    item."""

    name: str
    higher_is_better = True

    @abstractmethod
    async def score(self, cases: Sequence[Case]) -> list[Score]: ...

    @abstractmethod
    def combine(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric from summed parts: shape (resamples, parts) to shape (resamples,)."""

    def reduce(self, scores: Sequence[Score], draws: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """The corpus value for each row of ``draws`` (resamples, n); without draws shape (1,)."""
        check_scores(scores)
        parts = np.array([score.parts for score in scores], dtype=np.float64)
        sums = parts.sum(axis=0, keepdims=True) if draws is None else tally(draws, len(scores)) @ parts
        return self.combine(sums)


def failed(case: Case, parts: tuple[float, ...] = ()) -> Score:
    """The worst score of a case that has a failure: its reason is the failure."""
    assert case.failure is not None
    return Score(0.0, f"failed at {case.failure.where}: {case.failure.message}", parts)


def check_scores(scores: Sequence[Score]) -> None:
    if not scores:
        raise InputError("got no scores, expected at least one", remedy="give the task at least one test example")


def values_of(scores: Sequence[Score]) -> NDArray[np.float64]:
    """The items' values, shape (n,). Raises InputError without scores, and for one that is NaN."""
    check_scores(scores)
    values = np.fromiter((score.value for score in scores), dtype=np.float64, count=len(scores))
    if np.isnan(values).any():
        what = f"the score of item {int(np.isnan(values).argmax()) + 1} is NaN, expected a number"
        raise InputError(what, remedy="correct the metric", code="nan-score")
    return values


def tally(draws: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """How often each of the ``n`` items is in each row of ``draws``: shape (resamples, n)."""
    rows = len(draws)
    flat = (draws + (np.arange(rows, dtype=np.intp) * n)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * n).reshape(rows, n).astype(np.float64)


def references(case: Case) -> list[Any]:
    """The right answers of a case: a list or tuple as reference means that any of them is right."""
    if isinstance(case.reference, list | tuple) and case.reference:
        return list(case.reference)
    return [case.reference]


def shown(value: Any, limit: int = 60) -> str:
    """A value as it stands in a ``why``: quoted, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def pass_at(n: int, c: int, k: int) -> float:
    """Probability that at least one of k answers is right, from c right ones of n: the unbiased estimator of Chen et
    al. 2021 (arXiv:2107.03374). Raises InputError unless 0 <= c <= n and 1 <= k <= n."""
    _check(n, c, k)
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_all(n: int, c: int, k: int) -> float:
    """Probability that all of k answers are right (pass^k), from c right ones of n: the unbiased estimator of Yao et
    al. 2024 (tau-bench, arXiv:2406.12045). Raises InputError unless 0 <= c <= n and 1 <= k <= n."""
    _check(n, c, k)
    return math.comb(c, k) / math.comb(n, k)


def _check(n: int, c: int, k: int) -> None:
    if not (0 <= c <= n and 1 <= k <= n):
        raise InputError(
            f"got {c} of {n} right and k {k}, expected 0 <= c <= n and 1 <= k <= n",
            remedy="take more samples, or a lower k",
        )
