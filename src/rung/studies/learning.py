"""A learning curve: a rung fitted on growing, nested parts of the training examples, and what twice as many would buy.

The error is read as a power law of the number of examples, floor + scale * n ** -slope (Hestness et al. 2017,
arXiv:1712.00409), fitted through the curve; intervals come from resampling the examples that were answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.rung import make_rung
from rung.core.settings import Settings
from rung.core.types import Example, Interval, Progress, RungChoice, Score, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.measure.looks import Test
from rung.ladder.prepare.fit import fit
from rung.metrics import load_metric
from rung.metrics.stats import bootstrap, interval
from rung.store import open_store

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


async def learn(
    task: Task,
    choice: RungChoice,
    sizes: Sequence[int],
    examples: Sequence[Example],
    settings: Settings,
    resources: Resources,
    *,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Learning:
    """Fit ``choice`` on the first n of the shuffled training examples for each of ``sizes``; answer ``examples`` with each.

    The parts are nested and keep the labels' balance; fits and answers are kept, so a killed curve goes on. Raises InputError
    for sizes that train does not have, or a rung that does not fit the task.
    """
    wanted = sorted(set(sizes))
    if not wanted or wanted[0] < 1 or wanted[-1] > len(task.train):
        raise InputError(
            f"got sizes {', '.join(map(str, wanted)) or 'none'}; {task.name} has {len(task.train)} training examples",
            remedy=f"write --sizes with numbers from 1 to {len(task.train)}",
        )
    rung = make_rung(choice)
    order = balanced(task.train, seed)
    metric = load_metric(task.metrics[0], resources)
    scores: list[list[Score]] = []
    points: list[LearningPoint] = []
    with open_store(settings.store_url) as store:
        watched = Test(store, task, "curve")
        evaluator = Evaluator(store, "", [metric], concurrency=settings["concurrency"], test=watched)
        for done, n in enumerate(wanted):
            part = replace(task, train=tuple(order[:n]))
            if reason := rung.obstacle(part, resources):
                raise InputError(f"{choice.title} cannot be fitted on {n} examples: {reason}", remedy="begin higher")
            fitted = await fit(
                choice,
                rung,
                part,
                store=store,
                resources=resources,
                evaluate=evaluator.fitting,
                home=settings.home,
                model=resources.model().name,
                progress=progress,
                seed=seed,
            )
            results = await evaluator(fitted.program, examples)
            scores.append([result.scores[metric.name] for result in results])
            points.append(LearningPoint(n, interval(metric, scores[-1]), fitted.offline.seconds))
            progress(
                Progress(
                    "learning curve",
                    done + 1,
                    len(wanted),
                    f"n={n} {metric.name} {points[-1].quality.value:.3f}",
                )
            )
    doubled = gain = None
    if len(points) >= 3:
        sizes_seen = np.asarray(wanted, np.float64)
        sign = 1.0 if metric.higher_is_better else -1.0
        values = np.stack(
            [bootstrap(lambda d, s=one: metric.reduce(s, d), len(examples), 2000, seed) for one in scores]  # type: ignore[misc]
        )
        ahead = extrapolate(sizes_seen, sign * values, 2 * sizes_seen[-1])
        point = float(extrapolate(sizes_seen, np.asarray([sign * p.quality.value for p in points]), 2 * sizes_seen[-1]))
        last = sign * values[-1]
        doubled = _span(sign * point, sign * ahead)
        gain = _span(sign * point - points[-1].quality.value, sign * (ahead - last))
    return Learning(choice.title, metric.name, len(examples), tuple(points), doubled, gain)


def _span(value: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))


def balanced(examples: Sequence[Example], seed: int) -> list[Example]:
    """An order whose every beginning holds the labels as evenly as it can: shuffled within each label, then dealt out."""
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
    """The value at ``n`` of ceiling - scale * n ** -slope through (sizes, values), scale not below 0: least squares over a
    grid of slopes. With values that do not rise it is their mean. ``values`` has shape (sizes, ...), the result (...)."""
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


def table(found: Learning) -> str:
    """The curve as plain text."""
    lines = [f"{found.rung}: {found.metric} on {found.examples} examples by the number of training examples", ""]
    for point in found.points:
        q = point.quality
        bar = "█" * round(30 * min(max(q.value, 0.0), 1.0))
        lines.append(f"{point.n:>7}  {q.value:.3f} [{q.low:.3f}, {q.high:.3f}]  {bar:<30}  fit {point.fit:,.1f} s")
    if found.doubled is not None and found.gain is not None:
        d, g = found.doubled, found.gain
        said = "" if g.low > 0 else "; no gain is sure"
        lines += [
            "",
            f"{2 * found.points[-1].n:>7}  {d.value:.3f} [{d.low:.3f}, {d.high:.3f}]  expected by a power law: "
            f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}] for labelling as many again{said}",
        ]
    return "\n".join(lines)
