"""Climb a task: fit every rung, answer the test examples with one meter, stop what cannot win, compare, recommend."""

from __future__ import annotations

import asyncio
import json
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from rung.core import __version__
from rung.core.codec import encode
from rung.core.errors import BudgetExceeded, MissingExtra, RungError
from rung.core.parts.meter import metered
from rung.core.parts.place import beside
from rung.core.parts.rung import make_rung
from rung.core.protocols import Computing, Resources, Rung, Trainable
from rung.core.settings import Settings
from rung.core.system import memory
from rung.core.system.machine import machine
from rung.core.system.threads import detached
from rung.core.types import Result, Task
from rung.ladder.history import keep_examples
from rung.ladder.measure import looks
from rung.ladder.measure.answering import Answering, scores_of
from rung.ladder.measure.calls import answered, words
from rung.ladder.measure.cost import Peak, online, watching
from rung.ladder.measure.evaluate import Evaluator, example_hash
from rung.ladder.measure.looks import Test
from rung.ladder.prepare.fit import FitRequest, FitResources, Fitted, fit
from rung.ladder.prepare.observer import Observer, Silent
from rung.ladder.prepare.plan import Attempt, AttemptResources, about, alone, plan
from rung.ladder.recommend import compare
from rung.ladder.records import RungRecord, RunRecord, Status
from rung.ladder.view.numbers import seconds
from rung.metrics import load_metric
from rung.metrics.stats import interval
from rung.store import Status as RunStatus
from rung.store import Store


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
    _whole: asyncio.Task[object] | None = field(default=None, init=False)
    _rung: asyncio.Task[tuple[RungRecord, list[Result]]] | None = field(default=None, init=False)
    _skipped: bool = field(default=False, init=False)

    async def climb(self) -> RunRecord:
        """Climb every rung and return the finished record, which is also in the store.

        Raises InputError for options that do not fit; a rung that fails is a row, not an exception. Cancelling (Ctrl-C)
        leaves everything answered so far in the journal, and the same climb goes on from there.
        """
        self._whole = asyncio.current_task()
        with beside(self.task, self.settings):
            return await self._climb()

    def skip(self) -> None:
        """Leave the rung under way; what it answered is kept, and the next one begins."""
        if self._rung is not None and not self._rung.done():
            self._skipped = True
            self._rung.cancel()

    def stop(self) -> None:
        """End the climb as Ctrl-C does."""
        if self._whole is not None:
            self._whole.cancel()

    async def _climb(self) -> RunRecord:
        task, budget = self.task, self.task.budget
        attempts = plan(task, self.settings)
        metrics = [load_metric(name, self.pool) for name in task.metrics]
        run = self._start(attempts)
        started = time.monotonic()
        deadline = started + budget.seconds if budget.seconds is not None else None
        watched = Test(self.store, task, "climb", run.id)
        evaluator = Evaluator(
            self.store, run.id, metrics, concurrency=self.settings["concurrency"], test=watched, lenient=True
        )
        # A fixed shuffle: the first n test examples are a random sample of them, whatever order the file has.
        test = sorted(task.test, key=example_hash)
        await keep_examples(self.store, run.id, task.hash, test)
        answering = Answering(task, evaluator, metrics, test, self.observer, self.early, deadline)
        records: list[RungRecord] = []
        self.observer.run_started(run, [attempt.title for attempt in attempts], self)
        status: RunStatus = "failed"
        try:
            with metered(budget) as meter:
                for position, attempt in enumerate(attempts):
                    self.observer.rung_started(attempt.title)
                    record, results = await self._attend(attempt, answering, records)
                    records.append(record)
                    if record.scored:
                        answering.scored[attempt.title] = results
                    self.store.runs.put_rung(run.id, position, record.title, json.dumps(encode(record)))
                    self.observer.rung_done(record)
                records, recommendation = await compare(
                    task, metrics[0], records, answering.scored, self.settings["core_hour"]
                )
                run = replace(run, rungs=tuple(records), recommendation=recommendation)
            status = "done"
        except (asyncio.CancelledError, KeyboardInterrupt):
            status = "stopped"
            raise
        finally:
            run = replace(
                run,
                status=status,
                seconds=time.monotonic() - started,
                usage=meter.total,
                rungs=tuple(records),
                precision=self._precisions(records),
            )
            looked = looks.count(self.store, run.id)
            run = replace(run, look=looked.number, notes=(*run.notes, *filter(None, [looked.warning])))
            self.store.runs.update(run.id, status=status, summary=json.dumps(encode(run)))
        self.observer.run_done(run)
        return run

    def _start(self, attempts: Sequence[Attempt]) -> RunRecord:
        task, here = self.task, machine()
        spec = {
            "task": task.hash,
            "rungs": [[one.title, one.choice.name, dict(one.choice.options), one.model] for one in attempts],
            "seed": self.seed,
        }
        run = RunRecord(
            id=self.store.runs.start(task.name, task.hash, json.dumps(spec)),
            task=task.name,
            task_hash=task.hash,
            task_path=task.path,
            model=", ".join(dict.fromkeys(attempt.model for attempt in attempts if attempt.model)),
            metrics=task.metrics,
            tolerance=task.tolerance,
            target=task.target,
            counts={"train": len(task.train), "dev": len(task.dev), "test": len(task.test)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=f"{here.describe()}, Python {platform.python_version()}",
            kind=here.kind,
            features=here.features,
            threads=int(self.settings["threads"]) or here.cores,
            version=__version__,
        )
        self.store.runs.update(run.id, status="running", summary=json.dumps(encode(run)))
        return run

    def _precisions(self, records: Sequence[RungRecord]) -> dict[str, str]:
        found = {}
        for name in {record.model for record in records if record.model and record.scored}:
            model = self.pool.model(name)
            if isinstance(model, Computing) and model.precision:
                found[name] = model.precision
        return found

    async def _attend(
        self, attempt: Attempt, answering: Answering, before: Sequence[RungRecord]
    ) -> tuple[RungRecord, list[Result]]:
        """Climb one rung so that it can be skipped."""
        choice = attempt.choice
        blank = RungRecord(
            attempt.title, choice.name, "skipped", choice.options, model=attempt.model, planned=len(answering.test)
        )
        if before and before[-1].status == "budget":
            return replace(blank, status="budget", reason="the budget was spent before this rung's turn"), []
        self._skipped = False
        self._rung = asyncio.create_task(self._climb_rung(attempt, blank, answering))
        try:
            return await self._rung
        except asyncio.CancelledError:
            whole = asyncio.current_task()
            if not self._skipped or (whole is not None and whole.cancelling()):
                raise
            return replace(blank, reason=f"left on request; to climb it alone: {alone(self.task, attempt.title)}"), []

    async def _climb_rung(
        self, attempt: Attempt, blank: RungRecord, answering: Answering
    ) -> tuple[RungRecord, list[Result]]:
        using = AttemptResources(self.pool, attempt.model)
        results: list[Result] = []
        status: Status = "done"
        reason = ""
        fitted: Fitted | None = None
        peak = Peak()
        try:
            rung = make_rung(attempt.choice)
            blank = replace(blank, about=about(rung), tuned=rung.traits.tuned)
            if obstacle := rung.obstacle(self.task, using) or await self._too_long(attempt, rung, using, answering):
                return replace(blank, reason=obstacle), []
            if rung.traits.tuned:
                memory.rest(using.model())  # a training needs the memory more
            fitted = await self._fit(attempt, rung, using, answering.evaluator)
            with watching(peak):
                status, reason = await answering(attempt, fitted.program, results)
            if rung.traits.tuned:
                memory.rest(fitted.program.model)  # weights that no other rung asks
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
            said=words(results),
        )
        if fitted is None:
            return record, results
        record = replace(
            record,
            program=answering.evaluator.identity(fitted.program),
            folder=str(fitted.folder),
            offline=fitted.offline,
            training=fitted.training,
        )
        # What failed at the model is no answer: figures are of the others, and a rung that lacks too many has none.
        if (told := answered(results)) and status != "failed":
            fresh = not all(result.reused for result in results)
            peak.mb = await answering.evaluator.peak(fitted.program, peak.mb, fresh=fresh)
            record = replace(
                record,
                metrics={m.name: interval(m, scores_of(told, m)) for m in answering.metrics},
                online=online(told, peak, self.settings["core_hour"]),
            )
        return record, results

    async def _too_long(self, attempt: Attempt, rung: Rung, using: AttemptResources, answering: Answering) -> str:
        """Why a long fit does not fit into the rest of the time, or nothing."""
        if answering.deadline is None or not isinstance(rung, Trainable) or self._is_fitted(attempt, rung, using):
            return ""
        fit = await detached(partial(rung.forecast, self.task, using))
        expected = fit.usage.seconds + fit.rest
        left = answering.deadline - time.monotonic()
        if expected <= left:
            return ""
        return (
            f"its training takes about {seconds(expected)} here, and {seconds(max(left, 0.0))} of the budget's "
            f"{seconds(self.task.budget.seconds)} are left; to climb it alone: {alone(self.task, attempt.title)}"
        )

    def _is_fitted(self, attempt: Attempt, rung: Rung, using: AttemptResources) -> bool:
        return self.store.fits.get(self._request(attempt, rung, using).key) is not None

    def _request(self, attempt: Attempt, rung: Rung, using: AttemptResources) -> FitRequest:
        model = using.model().fingerprint if attempt.model else ""
        return FitRequest(attempt.choice, rung, self.task, model, self.seed)

    async def _fit(self, attempt: Attempt, rung: Rung, using: AttemptResources, evaluator: Evaluator) -> Fitted:
        tell = partial(self.observer.fitting, attempt.title)
        given = FitResources(self.store, using, evaluator.fitting, self.settings.home, tell)
        return await fit(self._request(attempt, rung, using), given)
