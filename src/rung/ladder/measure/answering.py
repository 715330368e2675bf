"""A program answers the test examples, in waves: its latency first, and no further than it can still win."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from rung.core.errors import BudgetExceeded
from rung.core.parts.meter import metered
from rung.core.protocols import Metric, Program, PromptCache
from rung.core.types import Answer, Example, Result, Score, Task
from rung.ladder.measure.calls import MOST, answered, sentence
from rung.ladder.measure.evaluate import Evaluator, Tick
from rung.ladder.prepare.observer import Observer
from rung.ladder.prepare.plan import Attempt
from rung.ladder.records import BASELINE, Status
from rung.metrics.statistics.sequential import Race
from rung.metrics.stats import interval

ALONE = 12
"""Test examples answered one at a time for the latency, before the rest goes in together."""
WAVE = 32
"""Answers between two looks of the sequential test."""


@dataclass
class Answering:
    """What all rungs of a climb share while they answer. ``deadline`` is on the monotonic clock; ``scored`` has the
    results of the rungs that are behind, ``silent`` the models none of whose calls was answered, with what was said."""

    task: Task
    evaluator: Evaluator
    metrics: Sequence[Metric]
    test: Sequence[Example]
    observer: Observer
    early: bool
    deadline: float | None
    scored: dict[str, list[Result]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    async def __call__(self, attempt: Attempt, program: Program, results: list[Result]) -> tuple[Status, str]:
        """Answer in waves into ``results``; returns the status and, where it stopped early or its calls failed, why."""
        primary, total = self.metrics[0], len(self.test)
        warm = await self._warm(program)
        if (
            attempt.model in self.silent
            and warm is not None
            and warm.failure is not None
            and warm.failure.where == "model"
        ):
            return (
                "failed",
                f"no call of {attempt.model} was answered before, nor was this rung's first: {warm.failure.message}",
            )
        rival = best_of(primary, self.scored, total)
        early = self.early and rival is not None and attempt.choice.name != BASELINE
        race = Race(self.task.tolerance, rivals=len(self.scored)) if early else None
        with metered() as meter:

            def tick(base: int, done: Tick) -> None:
                so_far = scores_of(answered(results), primary)
                quality = interval(primary, so_far, resamples=1000) if so_far else None
                self.observer.answering(attempt.title, base + done.done, total, quality, meter.total)

            for start, stop in waves(total):
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    raise BudgetExceeded(f"the budget of {self.task.budget.seconds:g} seconds is spent")
                some = self.test[start:stop]
                alone = ALONE if start == 0 else 0
                wave = await self.evaluator(program, some, alone=alone, on_tick=partial(tick, start))
                results.extend(wave)
                if len(results) - len(answered(results)) > MOST * total:
                    return self._failed(attempt, results)
                if race is None or rival is None or stop == total:
                    continue
                both = [
                    (m, t)
                    for m, t in zip(wave, self.scored[rival][start:stop], strict=True)
                    if m.answered and t.answered
                ]
                mine, theirs = scores_of([m for m, _ in both], primary), scores_of([t for _, t in both], primary)
                if both and (said := race.look(primary, mine, theirs)):
                    return "stopped", f"{said} {rival}; {total - stop} of {total} test examples were not asked"
        return "done", ""

    def _failed(self, attempt: Attempt, results: Sequence[Result]) -> tuple[Status, str]:
        if not answered(results):
            self.silent.setdefault(attempt.model, sentence(results))
        left = len(self.test) - len(results)
        return "failed", sentence(results) + (f"; the other {left} test examples were not asked" if left else "")

    async def _warm(self, program: Program) -> Answer | None:
        """Load the model and its prompt's common part before the clock of the first answers runs: a latency is of a
        server that is up. Not needed where all answers come from the journal."""
        spare = self.task.train or self.task.dev
        if program.model is None or self.evaluator.knows(program, self.test):
            return None
        # Prompts of an earlier rung must not make this one cheaper than it will be when it is served alone.
        if isinstance(program.model, PromptCache):
            program.model.forget()
        return await program(spare[-1].input) if spare else None


def scores_of(results: Sequence[Result], metric: Metric) -> list[Score]:
    return [result.scores[metric.name] for result in results]


def waves(total: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges: the first holds the examples answered alone and a few more, then ``WAVE`` each."""
    start = 0
    while start < total:
        stop = min(total, start + WAVE)
        yield start, stop
        start = stop


def best_of(metric: Metric, scored: dict[str, list[Result]], total: int) -> str | None:
    """The rung with the best value so far among those that were asked every test example."""
    values = {
        title: float(metric.reduce(scores_of(answered(results), metric))[0])
        for title, results in scored.items()
        if len(results) == total
    }
    sign = 1 if metric.higher_is_better else -1
    return max(values, key=lambda title: sign * values[title]) if values else None
