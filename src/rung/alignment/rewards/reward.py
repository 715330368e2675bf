"""Rewards that a program checks: the metrics by which a climb measures, weighted. A metric stays what it is; nothing is
copied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.core.errors import FitError, InputError
from rung.core.protocols import Metric, Resources
from rung.core.types import Case
from rung.metrics import load_metric

Scored = Mapping[str, float]
"""The parts of one answer's reward, by metric, not yet weighted."""


@dataclass(frozen=True)
class Reward:
    """The weighted sum of metrics of one answer. A metric for which lower is better counts with its sign turned."""

    parts: tuple[tuple[Metric, float], ...]

    @classmethod
    def of(cls, weights: Mapping[str, float], resources: Resources) -> Reward:
        """Raises InputError for a metric that there is not."""
        if not weights:
            raise InputError("there is no reward", remedy="reward: {accuracy: 1.0}, or any metric of rung climb")
        return cls(tuple((load_metric(name, resources), float(weight)) for name, weight in weights.items()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(metric.name for metric, _ in self.parts)

    async def score(self, cases: Sequence[Case]) -> list[Scored]:
        """The parts of each case. Raises FitError, naming the metric, for a score that is no finite number or a metric
        that breaks."""
        columns: dict[str, list[float]] = {}
        for metric, _ in self.parts:
            try:
                scores = await metric.score(cases)
                values = [float(score.value) for score in scores]
            except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
                raise FitError(
                    f"the reward {metric.name} broke: {type(error).__name__}: {error}",
                    remedy="correct the metric",
                    code="reward",
                ) from error
            if len(values) != len(cases):
                raise FitError(
                    f"the reward {metric.name} gave {len(values)} scores for {len(cases)} answers",
                    remedy="correct the metric",
                    code="reward",
                )
            for value, case in zip(values, cases, strict=True):
                if not math.isfinite(value):
                    raise FitError(
                        f"the reward {metric.name} gave {value} for the answer {case.raw[:60]!r}",
                        remedy="correct the metric: a reward is a finite number",
                        code="reward",
                    )
            columns[metric.name] = values
        return [{name: column[at] for name, column in columns.items()} for at in range(len(cases))]

    def total(self, parts: Scored) -> float:
        """What the parts of one answer sum up to."""
        return sum((weight if m.higher_is_better else -weight) * parts[m.name] for m, weight in self.parts)


def read_weights(given: Any) -> dict[str, float]:
    """Metrics and weights as a file may write them: a name, a list of names (their mean), or a mapping. Raises
    InputError."""
    if isinstance(given, str):
        return {given: 1.0}
    if isinstance(given, list) and given and all(isinstance(name, str) for name in given):
        return {name: 1.0 / len(given) for name in given}
    if isinstance(given, Mapping) and given:
        bad = [
            name for name, weight in given.items() if isinstance(weight, bool) or not isinstance(weight, int | float)
        ]
        if not bad and all(math.isfinite(weight) for weight in given.values()):
            return {str(name): float(weight) for name, weight in given.items()}
    raise InputError(
        f"reward is {given!r}, expected a metric, a list of metrics, or metrics with their weights",
        remedy="for example reward: {rouge-l: 1.0}",
    )
