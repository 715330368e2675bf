"""Calls of a model that failed are no answers: they are counted and told in the provider's words, and nothing is
decided by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rung.core.errors import ModelError
from rung.core.protocols import Metric
from rung.core.types import Case, Result, Score
from rung.metrics.mean import Mean

MOST = 0.1
"""A rung of which a larger share of calls failed is not measured by the others."""
FITTING = 0.05
"""While a rung fits or a study measures, a larger share of failed calls ends it."""


def answered(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.answered]


def words(results: Sequence[Result]) -> str:
    """What the provider said, the most frequent first, and how often where it said several things."""
    said = Counter(
        " ".join(result.answer.failure.message.split())
        for result in results
        if not result.answered and result.answer.failure is not None
    )
    if len(said) < 2:
        return next(iter(said), "")
    shown = "; ".join(f"{n} times: {text}" for text, n in said.most_common(3))
    return shown + (f"; and {len(said) - 3} other errors" if len(said) > 3 else "")


def sentence(results: Sequence[Result]) -> str:
    """``3 of 40 calls failed: ...``; empty when none did."""
    failed = len(results) - len(answered(results))
    if not failed:
        return ""
    return f"{'every call' if failed == len(results) else f'{failed} of {len(results)} calls'} failed: {words(results)}"


def demand(results: Sequence[Result]) -> None:
    """Raise ModelError, with the first failure's code, when too many calls failed to learn or measure anything from the
    rest."""
    failed = [result for result in results if not result.answered]
    if len(failed) > FITTING * len(results) and failed[0].answer.failure is not None:
        raise ModelError(
            sentence(results),
            remedy="what was answered is kept: repeat the command when the provider answers again",
            code=failed[0].answer.failure.code,
        )


async def best_case(metric: Metric, results: Sequence[Result]) -> list[Score]:
    """The scores with every failed call taken for a right answer."""
    missing = [result for result in results if not result.answered]
    if isinstance(metric, Mean):
        right = [Score(1.0 if metric.higher_is_better else 0.0)] * len(missing)
    else:
        right = await metric.score([Case(r.example.input, r.example.reference, r.example.reference) for r in missing])
    better = iter(right)
    return [result.scores[metric.name] if result.answered else next(better) for result in results]
