"""A learning curve: a rung fitted on growing, nested parts of the training examples, and what twice as many would buy.

The error is read as a power law of the number of examples, floor + scale * n ** -slope (Hestness et al. 2017,
arXiv:1712.00409), fitted through the curve; intervals come from resampling the examples that were answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.parts.rung import make_rung
from rung.core.protocols import Metric
from rung.core.types import Example, Interval, Progress, RungChoice, Score, Task
from rung.ladder.measure.looks import Test
from rung.ladder.prepare.fit import FitRequest, FitResources, fit
from rung.ladder.view.numbers import bar, exact
from rung.metrics import load_metric
from rung.metrics.stats import bootstrap, interval
from rung.studies.study import Lab, Study, whole_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOPES = np.linspace(0.05, 2.0, 40)
"""Exponents that are tried; floor and scale follow from each by least squares."""


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """The rung fitted on ``n`` training examples. ``fit`` is what the fit took in seconds."""

    n: int
    quality: Interval
    fit: float


@dataclass(frozen=True, slots=True)
class Learning:
    """The curve, and the quality expected with twice the examples (None with fewer than three points)."""

    rung: str
    metric: str
    examples: int
    points: tuple[LearningPoint, ...]
    doubled: Interval | None
    gain: Interval | None


@dataclass(frozen=True)
class LearningCurve(Study[Task, Learning]):
    """Fit a rung on growing parts of train, and say what labelling as many examples again is expected to gain."""

    name = "curve"
    subject = "task"
    records = Learning
    stage = "learning curve"

    rung: str = argument("A rung that learns from examples, such as linear or lora-f16.", "RUNG")
    sizes: str = option("", "Numbers of training examples (default: doublings).", metavar="N,N,...")
    limit: int = option(500, "At most this many test examples.", low=1)
    seed: int = option(0, "Seed of the order in which examples are taken.")

    async def measure(self, subject: Task, lab: Lab) -> Learning:
        """Fit the rung on the first n of the shuffled training examples for each of the sizes; answer test examples
        with each.

        The parts are nested and keep the labels' balance; fits are kept. Raises InputError for sizes that train does
        not have, or a rung that does not fit the task.
        """
        sizes, examples = self._sizes(subject), subject.test[: self.limit]
        choice = next((c for c in subject.rungs if c.title == self.rung), RungChoice(self.rung))
        rung, order = make_rung(choice), balanced(subject.train, self.seed)
        metric = load_metric(subject.metrics[0], lab.resources)
        evaluator = lab.evaluator([metric], test=Test(lab.store, subject, self.name))
        given = FitResources(lab.store, lab.resources, evaluator.fitting, lab.settings.home, lab.progress)
        scores: list[list[Score]] = []
        points: list[LearningPoint] = []
        for done, n in enumerate(sizes):
            small = replace(subject, train=tuple(order[:n]))
            if reason := rung.obstacle(small, lab.resources):
                raise InputError(f"{choice.title} cannot be fitted on {n} examples: {reason}", remedy="begin higher")
            fitted = await fit(FitRequest(choice, rung, small, lab.resources.model().name, self.seed), given)
            results = await evaluator(fitted.program, examples)
            scores.append([result.scores[metric.name] for result in results])
            points.append(LearningPoint(n, interval(metric, scores[-1]), fitted.offline.seconds))
            note = f"n={n} {metric.name} {points[-1].quality.value:.3f}"
            lab.progress(Progress(self.stage, done + 1, len(sizes), note))
        doubled, gain = _ahead(metric, points, scores, self.seed) if len(points) >= 3 else (None, None)
        return Learning(choice.title, metric.name, len(examples), tuple(points), doubled, gain)

    def _sizes(self, task: Task) -> list[int]:
        n = len(task.train)
        if self.sizes:
            sizes = sorted(set(whole_numbers(self.sizes, "--sizes")))
        else:
            sizes = [n // 2**halved for halved in range(4, -1, -1) if n // 2**halved >= 20]
        if not sizes or sizes[0] < 1 or sizes[-1] > n:
            raise InputError(
                f"got sizes {', '.join(map(str, sizes)) or 'none'}; {task.name} has {n} training examples",
                remedy=f"write --sizes with numbers from 1 to {n}",
            )
        return sizes

    def table(self, found: Learning) -> str:
        lines = [f"{found.rung}: {found.metric} on {found.examples} examples by the number of training examples", ""]
        for point in found.points:
            value = point.quality
            lines.append(f"{point.n:>7}  {exact(value)}  {bar(value.value, 30):<30}  fit {point.fit:,.1f} s")
        if found.doubled is not None and found.gain is not None:
            gain = found.gain
            unsure = "" if gain.low > 0 else "; no gain is sure"
            lines += [
                "",
                f"{2 * found.points[-1].n:>7}  {exact(found.doubled)}  expected by a power law: "
                f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] for labelling as many again{unsure}",
            ]
        return "\n".join(lines)


def _ahead(
    metric: Metric, points: Sequence[LearningPoint], scores: Sequence[Sequence[Score]], seed: int
) -> tuple[Interval, Interval]:
    """The quality with twice the examples, and what is gained over the last point."""
    sizes = np.asarray([point.n for point in points], np.float64)
    sign = 1.0 if metric.higher_is_better else -1.0
    draws = [bootstrap(lambda d, s=one: metric.reduce(s, d), len(one), 2000, seed) for one in scores]  # type: ignore[misc]
    values = sign * np.stack(draws)
    ahead = extrapolate(sizes, values, 2 * sizes[-1])
    point = float(extrapolate(sizes, np.asarray([sign * p.quality.value for p in points]), 2 * sizes[-1]))
    gain = _span(sign * point - points[-1].quality.value, sign * (ahead - values[-1]))
    return _span(sign * point, sign * ahead), gain


def _span(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def balanced(examples: Sequence[Example], seed: int) -> list[Example]:
    """An order whose every beginning holds the labels as evenly as it can: shuffled within each label, then dealt
    out."""
    draw = np.random.default_rng(seed)
    groups: dict[str, list[Example]] = {}
    for place in draw.permutation(len(examples)):
        example = examples[int(place)]
        groups.setdefault(str(example.reference)[:200], []).append(example)
    if len(groups) > len(examples) / 2:  # free text: there are no labels to balance
        return [examples[int(place)] for place in np.random.default_rng(seed).permutation(len(examples))]
    keyed = [
        ((rank + 0.5) / len(group), name, example)
        for name, group in groups.items()
        for rank, example in enumerate(group)
    ]
    return [example for _, _, example in sorted(keyed, key=lambda item: (item[0], item[1]))]


def extrapolate(sizes: NDArray[np.float64], values: NDArray[np.float64], n: float) -> NDArray[np.float64]:
    """The value at ``n`` of ceiling - scale * n ** -slope through (sizes, values), scale not below 0: least squares
    over a grid of slopes. With values that do not rise it is their mean. ``values`` has shape (sizes, ...), the result
    (...)."""
    slopes = np.asarray(SLOPES)
    curves = sizes ** -slopes[:, None]  # one row a slope
    middle = curves.mean(axis=1, keepdims=True)
    away = curves - middle
    flat = values.reshape(len(sizes), -1)
    mean = flat.mean(axis=0)
    scale = -(away @ (flat - mean)) / (away**2).sum(axis=1, keepdims=True)
    left = ((flat - mean + away[..., None] * scale[:, None]) ** 2).sum(axis=1)
    chosen = np.where(scale < 0, np.inf, left).argmin(axis=0)
    at = np.arange(flat.shape[1])
    rising = scale[chosen, at] >= 0
    ahead = mean + scale[chosen, at] * (middle[chosen, 0] - n ** -slopes[chosen])
    found: NDArray[np.float64] = np.where(rising, ahead, mean).reshape(values.shape[1:])
    return found
