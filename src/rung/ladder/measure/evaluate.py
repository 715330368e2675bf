"""Answer examples with a program, journal each answer as it arrives, score them: the only way anything is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rung.core.codec import canonical, decode, digest, encode
from rung.core.errors import BudgetExceeded, RungError
from rung.core.parts import program as programs
from rung.core.protocols import AskingMetric, Metric, Program
from rung.core.types import Answer, Case, Example, Result, Score
from rung.core.types.trail import recording
from rung.ladder.measure.calls import demand
from rung.metrics.rules.judge import unjudged
from rung.store import Entry, Store

if TYPE_CHECKING:
    from rung.ladder.measure.looks import Test

ALONE_SECONDS = 8.0
"""A slow program's latency is taken from fewer answers, so that measuring it does not hold up the climb."""
PEAK = "peak"
"""The journal's key of a program's peak memory, beside the hashes of examples."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Progress inside an evaluation: results so far, in order of arrival."""

    done: int
    total: int
    fresh: int


def example_hash(example: Example) -> str:
    """Identity of an example: its input and reference."""
    return digest([dict(example.input), example.reference])


def failures_key(program: str, run: str) -> str:
    """Under which the journal has the calls of a program that failed in one run."""
    return digest(["failed calls", program, run])


def _case_hash(case: Case) -> str:
    """Identity of what a metric sees, but for what the answer cost."""
    steps = [(step.name, step.reply, step.note) for step in case.steps]
    return digest([dict(case.input), case.output, case.reference, case.raw, encode(case.failure), steps])


class Evaluator:
    """Runs programs over examples for one run. Answers that the journal holds are not asked again.

    ``concurrency`` answers are in flight at once. The journal's key is (program, example, repeat), so a killed run
    loses at most what was in flight, and repeats are never served from it. ``test`` is the task's test split: no rung
    may fit on it, and who answers it is noted. Where more than a few calls of the model failed, there is nothing to
    learn from the rest: then ModelError is raised, unless ``lenient`` leaves it to the caller to see which results are
    answers.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        metrics: Sequence[Metric],
        *,
        concurrency: int = 64,
        test: Test | None = None,
        lenient: bool = False,
    ) -> None:
        self.store, self.run, self.metrics, self.concurrency = store, run, tuple(metrics), concurrency
        self._test = test
        self._lenient = lenient
        self._identified: tuple[Program, str] | None = None

    def identity(self, program: Program) -> str:
        """The program's fingerprint, hashed once while the same program is asked about: a pool may be megabytes."""
        if self._identified is None or self._identified[0] is not program:
            self._identified = program, programs.fingerprint(program)
        return self._identified[1]

    async def fitting(self, program: Program, examples: Sequence[Example]) -> list[Result]:
        """``evaluate`` for rungs while they fit: refuses examples of the test split."""
        test = self._test.hashes if self._test is not None else ()
        leaked = [example.id for example in examples if example_hash(example) in test]
        if leaked:
            raise RungError(
                f"a rung tried to look at test example {leaked[0]!r} while fitting",
                remedy="choose on task.dev; test examples are answered once, by the ladder",
            )
        results = await self(program, examples)
        demand(results)
        return results

    def knows(self, program: Program, examples: Sequence[Example]) -> bool:
        """Whether the journal holds an answer of the program to each of ``examples``."""
        hashes = {example_hash(example) for example in examples}
        return len(self.store.answers.recall(self.identity(program), list(hashes), 0)) == len(hashes)

    async def peak(self, program: Program, mb: float | None, *, fresh: bool) -> float | None:
        """The program's peak memory: ``mb`` where its answers are fresh, else what was measured when they were."""
        identity = self.identity(program)
        known = self.store.answers.recall(identity, [PEAK], 0)
        if PEAK in known:
            return float(json.loads(known[PEAK]))
        if fresh and mb is not None:
            await self.store.answers.record([Entry(identity, PEAK, json.dumps(mb), 0, self.run)])
        return mb if fresh else None

    async def __call__(
        self,
        program: Program,
        examples: Sequence[Example],
        *,
        repeat: int = 0,
        alone: int = 0,
        on_tick: Callable[[Tick], None] | None = None,
    ) -> list[Result]:
        """Results in the order of ``examples``. The first ``alone`` of them, or as many as ALONE_SECONDS allow, are
        answered one at a time (a latency)."""
        identity = self.identity(program)
        hashes = [example_hash(example) for example in examples]
        if self._test is not None and not self._test.hashes.isdisjoint(hashes):
            self._test.see(identity)
        known = self.store.answers.recall(identity, hashes, repeat)
        answered: dict[int, tuple[Answer, float, bool, bool]] = {}
        fresh: list[int] = []
        for index, key in enumerate(hashes):
            if (payload := known.get(key)) is not None:
                stored = json.loads(payload)
                answer = decode(Answer, stored["answer"])
                answered[index] = (answer, stored["seconds"], stored.get("alone", False), True)
            else:
                fresh.append(index)
        if on_tick is not None and answered:
            on_tick(Tick(len(answered), len(examples), 0))
        count = 0

        async def work(index: int, solo: bool) -> None:
            nonlocal count
            answer, seconds = await _answer(program, examples[index], repeat)
            if answer.failure is not None and answer.failure.where == "budget":
                raise BudgetExceeded(answer.failure.message)
            # A model that could not be reached may answer next time: such a failure is kept for this run alone.
            reached = answer.failure is None or answer.failure.where != "model"
            # An agent that waits for a person, or is paused, has not answered yet.
            waiting = answer.failure is not None and answer.failure.where == "waiting"
            if (reached or self.run) and not waiting:
                stored = {"answer": encode(answer), "seconds": seconds, **({"alone": True} if solo else {})}
                payload = json.dumps(stored, ensure_ascii=False, separators=(",", ":"))
                key = identity if reached else failures_key(identity, self.run)
                await self.store.answers.record([Entry(key, hashes[index], payload, repeat, self.run)])
            answered[index] = (answer, seconds, solo, False)
            count += 1
            if on_tick is not None:
                on_tick(Tick(len(answered), len(examples), count))

        started, todo = time.monotonic(), list(fresh)
        with recording(self.store.episodes.trail("normal")):
            while todo and todo[0] < alone and time.monotonic() - started < ALONE_SECONDS:
                await work(todo.pop(0), True)
            await _pool(work, todo, self.concurrency)
        results = await self._results(examples, [answered[index] for index in range(len(examples))])
        if not self._lenient:
            demand(results)
        return results

    async def _results(
        self, examples: Sequence[Example], answered: Sequence[tuple[Answer, float, bool, bool]]
    ) -> list[Result]:
        cases = [
            Case(example.input, answer.output, example.reference, answer.raw, answer.failure, answer.steps)
            for example, (answer, *_) in zip(examples, answered, strict=True)
        ]
        scores = await self.score(cases)
        return [
            Result(example, answer, {name: found[at] for name, found in scores.items()}, seconds, alone, reused)
            for at, (example, (answer, seconds, alone, reused)) in enumerate(zip(examples, answered, strict=True))
        ]

    async def score(self, cases: Sequence[Case]) -> Mapping[str, list[Score]]:
        """Scores by metric. Those that ask a model (judges) are journalled by what the judge saw; the others are cheap
        to redo."""
        out: dict[str, list[Score]] = {}
        for metric in self.metrics:
            judge = metric.fingerprint if isinstance(metric, AskingMetric) else ""
            out[metric.name] = await (self._asked(metric, judge, cases) if judge else metric.score(cases))
        return out

    async def _asked(self, metric: Metric, judge: str, cases: Sequence[Case]) -> list[Score]:
        keys = [_case_hash(case) for case in cases]
        found = {one: decode(Score, json.loads(text)) for one, text in self.store.answers.recall(judge, keys).items()}
        missing = {one: case for one, case in zip(keys, cases, strict=True) if one not in found}
        fresh = dict(zip(missing, await metric.score(list(missing.values())), strict=True))
        # A judge that failed may grade next time, as a model that could not be reached may answer.
        rows = [
            Entry(judge, one, canonical(score), 0, self.run)
            for one, score in fresh.items()
            if missing[one].failure is None and not unjudged([score])
        ]
        await self.store.answers.record(rows)
        found |= fresh
        return [found[one] for one in keys]


async def _answer(program: Program, example: Example, repeat: int) -> tuple[Answer, float]:
    """One answer with its metered usage; whatever goes wrong inside is a failure of this example, not of the run."""
    started, cpu = time.perf_counter(), time.thread_time()
    answer = await programs.attempt(partial(program, repeat=repeat), example.input)
    usage = answer.usage
    if program.model is None:  # runs in this thread without waiting, so that its CPU time is what passed here
        usage = replace(usage, cpu_seconds=usage.cpu_seconds + time.thread_time() - cpu)
    return answer.with_usage(usage), round(time.perf_counter() - started, 6)


async def _pool(work: Callable[[int, bool], Any], indices: Sequence[int], size: int) -> None:
    """Run ``work`` over ``indices`` with at most ``size`` in flight; the first error cancels the rest."""
    queue = iter(indices)

    async def worker() -> None:
        for index in queue:
            await work(index, False)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(size, len(indices))):
                group.create_task(worker())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
