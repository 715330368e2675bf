"""How many demonstrations: accuracy against k for each way of choosing them, on the same examples, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score, Task
from rung.ladder.measure.looks import Test
from rung.ladder.view.numbers import bar, change, exact, said
from rung.metrics import load_metric
from rung.metrics.stats import Difference, interval, paired
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt
from rung.studies.study import Lab, Study, corrected, listed, part, whole_numbers

NONE = "none"
"""The way of choosing where k is 0."""


@dataclass(frozen=True, slots=True)
class ShotsPoint:
    """``k`` demonstrations chosen by ``select``. ``difference`` is paired, to the smallest k that was asked (None for
    that one), its p corrected over the curve (Holm). ``tokens`` an answer."""

    select: str
    k: int
    quality: Interval
    difference: Difference | None
    tokens: float
    failures: int


@dataclass(frozen=True, slots=True)
class ShotsCurve:
    metric: str
    n: int
    pool: int
    points: tuple[ShotsPoint, ...]


@dataclass(frozen=True)
class Shots(Study[Task, ShotsCurve]):
    """Accuracy against the number of demonstrations, with intervals and paired differences to the smallest."""

    name = "few-shot"
    subject = "task"
    records = ShotsCurve

    ks: str = option("0,1,2,4,8", "Numbers of demonstrations.", metavar="K,K")
    select: str = option("random,knn", "How they are chosen: random, knn, mmr, coverage.", metavar="A,B")
    embedder: str = option("", "Embedder for knn and mmr; empty: TF-IDF over train.")
    exclude: float = option(0.8, "Show no near-duplicate of the input (Jaccard; 0: off).", low=0.0, high=1.0)
    limit: int = option(100, "At most this many examples of the split.", low=1)
    split: str = option("dev", "dev or test; test only once everything is chosen.")
    seed: int = option(0, "Seed of the random draw.")

    async def measure(self, subject: Task, lab: Lab) -> ShotsCurve:
        """Answer examples of the split with 0 to k demonstrations of train. The prompt is that of the few-shot rungs.

        Raises InputError for no k, a negative one, an unknown way to choose, no examples, or no training examples.
        """
        examples = part(subject, self.split, self.limit)
        plan = self._plan(subject, lab)
        if not subject.train or not examples:
            raise InputError(
                f"{subject.name} has {len(subject.train)} training and {len(examples)} examples to answer, expected some of both",
                remedy="give the task more rows: rung validate TASK",
            )
        metric = load_metric(subject.metrics[0], lab.resources)
        evaluator = lab.evaluator([metric], test=Test(lab.store, subject, self.name))
        scores: list[list[Score]] = []
        points: list[ShotsPoint] = []
        for done, (select, k, program) in enumerate(plan):
            results = await evaluator(program, examples)
            scores.append([result.scores[metric.name] for result in results])
            quality = interval(metric, scores[-1])
            tokens = sum(result.answer.usage.tokens for result in results) / len(results)
            failures = sum(result.answer.failure is not None for result in results)
            difference = paired(metric, scores[-1], scores[0]) if done else None
            points.append(ShotsPoint(select, k, quality, difference, tokens, failures))
            lab.progress(Progress("k curve", done + 1, len(plan), f"{select} k={k} {metric.name} {quality.value:.3f}"))
        return ShotsCurve(metric.name, len(examples), len(subject.train), tuple(corrected(points)))

    def _plan(self, task: Task, lab: Lab) -> list[tuple[str, int, PromptProgram]]:
        ks = whole_numbers(self.ks, "--ks")
        named, known = listed(self.select), get_args(Kind)
        if wrong := [name for name in named if name not in known]:
            raise InputError(f"examples are not chosen by {', '.join(wrong)}", remedy=f"ways: {', '.join(known)}")
        if min(ks) < 0 or not named:
            raise InputError(f"got k {self.ks} and {len(named)} ways", remedy="write --ks 0,1,2,4,8")
        model, prompt, options = lab.resources.model(), Prompt.of(task), Options.of(task)
        embedder = lab.resources.embedder(self.embedder) if self.embedder else None
        sizes = sorted({min(k, len(task.train)) for k in ks})
        plan: list[tuple[str, int, PromptProgram]] = []
        if sizes[0] == 0:
            plan.append((NONE, 0, PromptProgram(prompt, model, options)))
        for kind in (kind for kind in known if kind in named and sizes[-1]):
            widest = Selector(kind, sizes[-1], task.train, embedder=embedder, seed=self.seed, exclude=self.exclude)
            plan += [(kind, k, PromptProgram(prompt, model, options, widest.with_k(k))) for k in sizes if k]
        return plan

    def table(self, found: ShotsCurve) -> str:
        """Bars are the metric's value from 0 to 1."""
        first = found.points[0]
        rows = [["chosen", "k", found.metric, "", f"to {first.select} k={first.k}", "", "tokens"]]
        rows += [
            [
                point.select,
                str(point.k),
                exact(point.quality),
                bar(point.quality.value, 20),
                change(point.difference) if point.difference else "–",
                said(point.difference) if point.difference else "",
                f"{point.tokens:.0f}" + (f", {point.failures} failed" if point.failures else ""),
            ]
            for point in found.points
        ]
        about = f"{found.n} examples, demonstrations from {found.pool} training examples"
        return f"{about}; intervals 95%, p corrected (Holm)\n\n{align(rows)}"
