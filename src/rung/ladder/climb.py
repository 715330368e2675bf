"""Climb a task: fit every rung, answer the test examples with one meter, stop what cannot win, compare, recommend."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Protocol

import numpy as np

from rung.core import __version__, registry
from rung.core.codec import encode
from rung.core.errors import BudgetExceeded, MissingExtra, RungError
from rung.core.meter import metered
from rung.core.protocols import Embedder, Metric, Model, Program, PromptCache, Resources, Rung
from rung.core.rung import make_rung
from rung.core.settings import Settings
from rung.core.types import Example, Interval, Progress, Result, RungChoice, Score, Task, Usage
from rung.ladder import looks
from rung.ladder.evaluate import Evaluator, Tick, example_hash
from rung.ladder.fit import Fitted, fit
from rung.ladder.history import keep_examples
from rung.ladder.looks import Test
from rung.ladder.recommend import compare
from rung.ladder.records import BASELINE, Online, RungRecord, RunRecord, Status
from rung.metrics import load_metric
from rung.metrics.sequential import Race
from rung.metrics.stats import interval
from rung.prompts.patterns.written import beside
from rung.store import Status as RunStatus
from rung.store import Store

ALONE = 12
"""Test examples answered one at a time for the latency, before the rest goes in together."""
WAVE = 32
"""Answers between two looks of the sequential test."""


class Observer(Protocol):
    """Told what happens while it happens; the terminal display is one."""

    def run_started(self, run: RunRecord, rungs: Sequence[str]) -> None: ...
    def rung_started(self, title: str) -> None: ...
    def fitting(self, title: str, progress: Progress) -> None: ...
    def answering(self, title: str, done: int, total: int, quality: Interval | None, usage: Usage) -> None: ...
    def rung_done(self, record: RungRecord) -> None: ...
    def run_done(self, run: RunRecord) -> None: ...


class Silent:
    """An observer that says nothing."""

    def run_started(self, run: RunRecord, rungs: Sequence[str]) -> None: ...
    def rung_started(self, title: str) -> None: ...
    def fitting(self, title: str, progress: Progress) -> None: ...
    def answering(self, title: str, done: int, total: int, quality: Interval | None, usage: Usage) -> None: ...
    def rung_done(self, record: RungRecord) -> None: ...
    def run_done(self, run: RunRecord) -> None: ...


@dataclass(frozen=True)
class Using:
    """The resources of a climb, with the model that this part of it climbs with as the default."""

    pool: Resources
    default: str

    def model(self, name: str | None = None) -> Model:
        return self.pool.model(name or self.default)

    def embedder(self, name: str | None = None) -> Embedder:
        return self.pool.embedder(name)


@dataclass(frozen=True, slots=True)
class Entry:
    """One rung to climb with one model."""

    title: str
    choice: RungChoice
    model: str


@dataclass
class Climber:
    """One climb in progress."""

    task: Task
    store: Store
    pool: Resources
    settings: Settings
    observer: Observer = field(default_factory=Silent)
    early: bool = True
    seed: int = 0

    async def climb(self) -> RunRecord:
        """Climb every rung and return the finished record, which is also in the store.

        Raises InputError for options that do not fit; a rung that fails is a row, not an exception. Cancelling (Ctrl-C)
        leaves everything answered so far in the journal, and the same climb goes on from there.
        """
        with beside(self.task, self.settings):
            return await self._climb()

    async def _climb(self) -> RunRecord:
        task = self.task
        entries = plan(task, self.settings)
        metrics = [load_metric(name, self.pool) for name in task.metrics]
        run = self._start(entries)
        started = time.monotonic()
        deadline = started + task.budget.seconds if task.budget.seconds is not None else None
        watched = Test(self.store, task, "climb", run.id)
        evaluator = Evaluator(self.store, run.id, metrics, concurrency=self.settings["concurrency"], test=watched)
        # A fixed shuffle: the first n test examples are a random sample of them, whatever order the file has.
        test = sorted(task.test, key=example_hash)
        await keep_examples(self.store, run.id, task.hash, test)
        records: list[RungRecord] = []
        scored: dict[str, list[Result]] = {}
        self.observer.run_started(run, [entry.title for entry in entries])
        status: RunStatus = "failed"
        try:
            with metered(task.budget) as meter:
                for position, entry in enumerate(entries):
                    self.observer.rung_started(entry.title)
                    record, results = await self._rung(entry, evaluator, metrics, test, scored, deadline, records)
                    records.append(record)
                    if results:
                        scored[entry.title] = results
                    self.store.put_rung(run.id, position, record.title, json.dumps(encode(record)))
                    self.observer.rung_done(record)
                records, recommendation = compare(task, metrics[0], records, scored, self.settings)
                run = replace(run, rungs=tuple(records), recommendation=recommendation)
            status = "done"
        except (asyncio.CancelledError, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            run = replace(
                run, status=status, seconds=time.monotonic() - started, usage=meter.total, rungs=tuple(records)
            )
            looked = looks.count(self.store, run.id)
            run = replace(run, look=looked.number, notes=(*run.notes, *filter(None, [looked.warning])))
            self.store.update_run(run.id, status=status, summary=json.dumps(encode(run)))
        self.observer.run_done(run)
        return run

    def _start(self, entries: Sequence[Entry]) -> RunRecord:
        task = self.task
        spec = {
            "task": task.hash,
            "rungs": [[entry.title, entry.choice.name, dict(entry.choice.options), entry.model] for entry in entries],
            "seed": self.seed,
        }
        run = RunRecord(
            id=self.store.start_run(task.name, task.hash, json.dumps(spec)),
            task=task.name,
            task_hash=task.hash,
            task_path=task.path,
            model=", ".join(dict.fromkeys(entry.model for entry in entries if entry.model)),
            metrics=task.metrics,
            tolerance=task.tolerance,
            target=task.target,
            counts={"train": len(task.train), "dev": len(task.dev), "test": len(task.test)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            version=__version__,
        )
        self.store.update_run(run.id, status="running", summary=json.dumps(encode(run)))
        return run

    async def _rung(
        self,
        entry: Entry,
        evaluator: Evaluator,
        metrics: Sequence[Metric],
        test: Sequence[Example],
        scored: dict[str, list[Result]],
        deadline: float | None,
        before: Sequence[RungRecord],
    ) -> tuple[RungRecord, list[Result]]:
        blank = RungRecord(
            entry.title, entry.choice.name, "skipped", entry.choice.options, model=entry.model, planned=len(test)
        )
        if before and before[-1].status == "budget":
            return replace(blank, status="budget", reason="the budget was spent before this rung's turn"), []
        using = Using(self.pool, entry.model)
        results: list[Result] = []
        status: Status = "done"
        reason = ""
        fitted: Fitted | None = None
        peak = Peak()
        try:
            rung = make_rung(entry.choice)
            blank = replace(blank, about=about(rung), tuned=rung.traits.tuned)
            if obstacle := rung.obstacle(self.task, using):
                return replace(blank, reason=obstacle), []
            fitted = await self._fit(entry, rung, using, evaluator)
            with watching(peak):
                status, reason = await self._answer(
                    entry, fitted.program, evaluator, metrics, test, scored, deadline, results
                )
        except BudgetExceeded as error:
            status, reason = "budget", error.message
        except MissingExtra as error:
            return replace(blank, reason=str(error)), []
        except RungError as error:
            status, reason = "failed", str(error)
        record = replace(
            blank,
            status=status,
            reason=reason,
            n=len(results),
            failures=dict(Counter(r.answer.failure.where for r in results if r.answer.failure is not None)),
        )
        if fitted is not None:
            record = replace(
                record,
                program=evaluator.identity(fitted.program),
                folder=str(fitted.folder),
                offline=fitted.offline,
                training=fitted.training,
            )
        if results and fitted is not None:
            peak.mb = await evaluator.peak(fitted.program, peak.mb, fresh=not all(r.reused for r in results))
            record = replace(
                record,
                metrics={m.name: interval(m, [result.scores[m.name] for result in results]) for m in metrics},
                online=online(results, peak, self.settings["core_hour"]),
            )
        return record, results

    async def _fit(self, entry: Entry, rung: Rung, using: Using, evaluator: Evaluator) -> Fitted:
        return await fit(
            entry.choice,
            rung,
            self.task,
            store=self.store,
            resources=using,
            evaluate=evaluator.fitting,
            home=self.settings.home,
            model=using.model().fingerprint if entry.model else "",
            progress=lambda progress: self.observer.fitting(entry.title, progress),
            seed=self.seed,
        )

    async def _answer(
        self,
        entry: Entry,
        program: Program,
        evaluator: Evaluator,
        metrics: Sequence[Metric],
        test: Sequence[Example],
        scored: dict[str, list[Result]],
        deadline: float | None,
        results: list[Result],
    ) -> tuple[Status, str]:
        """Answer in waves into ``results``; returns the status and, where it stopped early, why."""
        primary = metrics[0]
        await self._warm(program, evaluator, test)
        rival = best_of(primary, scored, len(test))
        early = self.early and rival is not None and entry.choice.name != BASELINE
        race = Race(self.task.tolerance, rivals=len(scored)) if early else None
        with metered() as meter:

            def tick(base: int, done: Tick) -> None:
                quality = interval(primary, _scores(results, primary), resamples=1000) if results else None
                self.observer.answering(entry.title, base + done.done, len(test), quality, meter.total)

            for start, stop in waves(len(test)):
                if deadline is not None and time.monotonic() >= deadline:
                    raise BudgetExceeded(f"the budget of {self.task.budget.seconds:g} seconds is spent")
                wave = await evaluator(
                    program, test[start:stop], alone=ALONE if start == 0 else 0, on_tick=partial(tick, start)
                )
                results.extend(wave)
                if race is None or rival is None or stop == len(test):
                    continue
                theirs = _scores(scored[rival][start:stop], primary)
                if said := race.look(primary, _scores(wave, primary), theirs):
                    left = len(test) - stop
                    return "stopped", f"{said} {rival}; {left} of {len(test)} test examples were not asked"
        return "done", ""

    async def _warm(self, program: Program, evaluator: Evaluator, test: Sequence[Example]) -> None:
        """Load the model and its prompt's common part before the clock of the first answers runs: a latency is of a
        server that is up. Not needed where all answers come from the journal."""
        spare = self.task.train or self.task.dev
        if program.model is None or evaluator.knows(program, test):
            return
        # Prompts of an earlier rung must not make this one cheaper than it will be when it is served alone.
        if isinstance(program.model, PromptCache):
            program.model.forget()
        if spare:
            await program(spare[-1].input)


def _scores(results: Sequence[Result], metric: Metric) -> list[Score]:
    return [result.scores[metric.name] for result in results]


def about(rung: Rung) -> str:
    """The first line of a rung's docstring."""
    return (type(rung).__doc__ or "").strip().partition("\n")[0]


def waves(total: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges: the first holds the examples answered alone and a few more, then ``WAVE`` each."""
    start = 0
    while start < total:
        stop = min(total, start + WAVE)
        yield start, stop
        start = stop


def plan(task: Task, settings: Settings) -> list[Entry]:
    """The rungs to climb in order, with each of the task's models; rungs without a model come once."""
    choices = task.rungs or tuple(choice for choice in map(RungChoice, registry.table("rung")) if not optional(choice))
    models = task.models or (settings["model"],)
    entries: list[Entry] = []
    for index, model in enumerate(models):
        for choice in choices:
            uses = make_rung(choice).traits.uses_model
            if not uses and index:
                continue
            title = f"{choice.title}@{model.partition(':')[2] or model}" if uses and len(models) > 1 else choice.title
            entries.append(Entry(title, choice, model if uses else ""))
    return entries


def optional(choice: RungChoice) -> bool:
    """Whether a rung is climbed only where it is named: the prompt patterns, of which most tasks want a few."""
    return make_rung(choice).traits.optional


def best_of(metric: Metric, scored: dict[str, list[Result]], total: int) -> str | None:
    """The rung with the best value so far among those that answered every test example."""
    values = {
        title: float(metric.reduce(_scores(results, metric))[0])
        for title, results in scored.items()
        if len(results) == total
    }
    sign = 1 if metric.higher_is_better else -1
    return max(values, key=lambda title: sign * values[title]) if values else None


@dataclass
class Peak:
    """The largest resident memory of the process so far, in MB; None where it cannot be read."""

    mb: float | None = None


@contextmanager
def watching(peak: Peak) -> Iterator[None]:
    """Sample resident memory 20 times a second during the block."""
    done = Event()
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: not measured, and shown as such
        yield
        return
    page = os.sysconf("SC_PAGE_SIZE")

    def sample() -> None:
        while True:
            peak.mb = max(peak.mb or 0.0, int(statm.read_text().split()[1]) * page / 1e6)
            if done.wait(0.05):
                return

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def online(results: Sequence[Result], peak: Peak, core_hour: float) -> Online:
    """Average cost of the answers; CPU time is what the answers' own usage says (it survives a resume)."""
    n = len(results)
    total = sum((result.answer.usage for result in results), Usage())
    alone = sorted(result.seconds for result in results if result.alone)
    cpu = total.cpu_seconds / n
    return Online(
        n=n,
        tokens=total.tokens / n,
        prompt_tokens=total.prompt_tokens / n,
        completion_tokens=total.completion_tokens / n,
        cached_tokens=total.cached_tokens / n,
        money=total.money / n,
        cpu_seconds=cpu,
        cost=total.money / n + cpu / 3600 * core_hour,
        alone=len(alone),
        p50=median(alone) if alone else None,
        p95=float(np.quantile(alone, 0.95)) if alone else None,
        peak_mb=peak.mb,
    )
