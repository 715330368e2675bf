"""How many demonstrations: accuracy against k for each way of choosing them, on the same examples, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rung.core.columns import align
from rung.core.errors import InputError
from rung.core.protocols import Embedder, Resources
from rung.core.settings import Settings
from rung.core.types import Example, Interval, Progress, Result, Score, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.numbers import pvalue
from rung.ladder.records import verdict
from rung.metrics import load_metric
from rung.metrics.stats import Difference, holm, interval, paired
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt
from rung.store import open_store

NONE = "none"
"""The way of choosing where k is 0."""


@dataclass(frozen=True, slots=True)
class ShotsPoint:
    """``k`` demonstrations chosen by ``select``. ``difference`` is paired, to the smallest k that was asked (None for that
    one), its p corrected over the curve (Holm). ``tokens`` an answer."""

    select: str
    k: int
    quality: Interval
    difference: Difference | None
    tokens: float
    failures: int


@dataclass(frozen=True, slots=True)
class Curve:
    metric: str
    n: int
    pool: int
    points: tuple[ShotsPoint, ...]


async def curve(
    task: Task,
    ks: Sequence[int],
    selects: Sequence[Kind],
    examples: Sequence[Example],
    settings: Settings,
    resources: Resources,
    *,
    embedder: Embedder | None = None,
    exclude: float = 0.0,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Curve:
    """Answer ``examples`` with 0 to k demonstrations of train, through the store's journal: a killed curve goes on.

    The prompt is that of the few-shot rungs. Raises InputError for no k, a negative one, no examples, or no training examples.
    """
    if not ks or min(ks) < 0 or not selects:
        raise InputError(
            f"got k {', '.join(map(str, ks)) or 'none'} and {len(selects)} ways", remedy="write --ks 0,1,2,4,8"
        )
    if not task.train or not examples:
        raise InputError(
            f"{task.name} has {len(task.train)} training and {len(examples)} examples to answer, expected some of both",
            remedy="give the task more rows: rung validate TASK",
        )
    model, prompt, options = resources.model(), Prompt.of(task), Options.of(task)
    metric = load_metric(task.metrics[0], resources)
    sizes = sorted({min(k, len(task.train)) for k in ks})
    plan: list[tuple[str, int, PromptProgram]] = []
    if sizes[0] == 0:
        plan.append((NONE, 0, PromptProgram(prompt, model, options)))
    for kind in selects:
        widest = Selector(kind, sizes[-1], task.train, embedder=embedder, seed=seed, exclude=exclude)
        plan += [(kind, k, PromptProgram(prompt, model, options, widest.with_k(k))) for k in sizes if k]
    scores: list[list[Score]] = []
    points: list[ShotsPoint] = []
    with open_store(settings.store_url) as store:
        evaluator = Evaluator(store, "", [metric], concurrency=settings["concurrency"])
        for done, (select, k, program) in enumerate(plan):
            results: list[Result] = await evaluator(program, examples)
            scores.append([result.scores[metric.name] for result in results])
            quality = interval(metric, scores[-1])
            tokens = sum(result.answer.usage.tokens for result in results) / len(results)
            failures = sum(result.answer.failure is not None for result in results)
            difference = paired(metric, scores[-1], scores[0]) if done else None
            points.append(ShotsPoint(select, k, quality, difference, tokens, failures))
            progress(Progress("k curve", done + 1, len(plan), f"{select} k={k} {metric.name} {quality.value:.3f}"))
    corrected = iter(holm([point.difference.p for point in points if point.difference is not None]))
    points = [
        replace(point, difference=replace(point.difference, p=next(corrected))) if point.difference else point
        for point in points
    ]
    return Curve(metric.name, len(examples), len(task.train), tuple(points))


def table(found: Curve) -> str:
    """The curve as plain text; bars are the metric's value from 0 to 1."""
    first = found.points[0]
    rows = [["chosen", "k", found.metric, "", f"to {first.select} k={first.k}", "", "tokens"]]
    for point in found.points:
        q, d = point.quality, point.difference
        rows.append(
            [
                point.select,
                str(point.k),
                f"{q.value:.3f} [{q.low:.3f}, {q.high:.3f}]",
                "█" * round(20 * min(max(q.value, 0.0), 1.0)),
                f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" if d else "–",
                (verdict(d) if verdict(d) == "no difference" else f"{verdict(d)}, p {pvalue(d.p)}") if d else "",
                f"{point.tokens:.0f}" + (f", {point.failures} failed" if point.failures else ""),
            ]
        )
    return (
        f"{found.n} examples, demonstrations from {found.pool} training examples; intervals 95%, p corrected (Holm)\n\n"
        + align(rows)
    )
