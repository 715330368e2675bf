"""The store: a journal of answers, results of fitting, runs, cached responses. One class over SQLite and Postgres."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, cast, get_args

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import ConnectionPoolEntry

from rung.core.errors import InputError, RungError, StoreError
from rung.core.extras import require
from rung.store import migrations, process
from rung.store.journal import Batch, Entry, Journal, Served
from rung.store.process import Process
from rung.store.schema import (
    answers,
    fits,
    looks,
    metadata,
    outcomes,
    programs,
    prompts,
    ratings,
    responses,
    rungs,
    runs,
    served,
    splits,
)

T = TypeVar("T")

Status = Literal["running", "done", "stopped", "failed", "interrupted"]
"""``interrupted`` is never stored: it is how a running run reads whose process is gone."""

DAY = 86400.0

_CHUNK = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH_MS = 1_735_689_600_000  # 2025-01-01
_LOCK = 0x72756E67
_BROKEN = (exc.SQLAlchemyError, sqlite3.Error, OSError)


@dataclass(frozen=True, slots=True)
class Run:
    """One climb or evaluation. ``spec`` and ``summary`` are JSON text, times are Unix seconds."""

    id: str
    task: str
    task_hash: str
    status: Status
    started: float
    changed: float
    spec: str
    summary: str
    process: Process


@dataclass(frozen=True, slots=True)
class StoredRung:
    """A rung of a run; ``payload`` is JSON text."""

    position: int
    name: str
    payload: str
    changed: float


@dataclass(frozen=True, slots=True)
class StoredPrompt:
    """A version of a prompt; ``payload`` is JSON text. ``version`` 0: not stored yet."""

    name: str
    hash: str
    root: str
    root_hash: str
    payload: str
    note: str = ""
    version: int = 0
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredRating:
    """A verdict on two rungs' answers. ``one`` and ``other`` in the order of their names; ``verdict``: left, right, tie, bad."""

    run: str
    rater: str
    example: str
    one: str
    other: str
    left: str
    verdict: str
    note: str = ""
    seed: int = 0
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredABTest:
    """An A/B test; ``spec`` is JSON text, ``stopped`` why it was rolled back (empty: it runs)."""

    name: str
    spec: str
    stopped: str
    created: float


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An answer given in an A/B test. ``counts``: it is the first of its caller's that was scored."""

    id: str
    split: str
    arm: str
    caller: str
    created: float
    score: float | None = None
    scored: float | None = None
    counts: bool = False


@dataclass(frozen=True, slots=True)
class ArmTally:
    """One arm so far: answers given, answers scored and their mean, callers that count in the test and the sum of their scores."""

    answers: int = 0
    scored: int = 0
    mean: float = 0.0
    callers: int = 0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredLook:
    """A look at a test split: some of its examples' hashes, whose run and program it was, ``what`` looked and for ``who``."""

    sketch: str
    task: str
    task_hash: str
    run: str
    program: str
    what: str
    who: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredServed:
    """A request that was served; ``payload`` is JSON text. ``score`` (0..1) and ``correction`` came back about it at ``changed``."""

    id: str
    model: str
    payload: str
    created: float
    score: float | None = None
    correction: str | None = None
    changed: float | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What ``gc`` removed (or would). ``fits`` are the payloads, so that the caller can remove the folders they name."""

    runs: tuple[str, ...]
    answers: int
    fits: tuple[str, ...]
    responses: int
    bytes: int


def open_store(url: str, *, patience: float = 30.0) -> Store:
    """Open the store at ``url`` and bring its schema up to date.

    ``sqlite:///FILE`` (parent folders are made) or ``postgresql://...``. ``patience``: seconds to wait for another
    process's lock. Raises InputError for a URL of no known kind, MissingExtra without the Postgres driver, and StoreError
    when the store cannot be opened: damaged, read-only, full, locked, or written by a newer rung.
    """
    store = Store(_parse(url), patience)
    try:
        store.migrate()
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """An open store; a context manager. Its methods may be called from any thread.

    ``record`` and ``put_response`` are awaited and share group commits; the others are short and synchronous.
    """

    def __init__(self, url: URL, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._lite = url.get_backend_name() == "sqlite"
        self._engine = self._lite_engine() if self._lite else self._postgres_engine()
        self._writing = threading.Lock()
        self._journal = Journal(self._write_batch)
        self._noted: dict[str, float] = {}
        self._last_ms = 0

    @property
    def url(self) -> str:
        """Where it is; a password is hidden."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is queued and let go of the database. Harmless when repeated."""
        self._journal.close()
        self._engine.dispose()

    # ------------------------------------------------------------ journal

    def recall(self, program: str, examples: Sequence[str], repeat: int = 0) -> dict[str, str]:
        """The journalled payloads of a program's answers, by example; examples without one are left out."""
        self._note(program)
        columns = (answers.c.example, answers.c.payload)
        query = sa.select(*columns).where(answers.c.program == _text(program), answers.c.repeat == repeat)
        found: dict[str, str] = {}
        wanted = list(dict.fromkeys(_text(example) for example in examples))
        for start in range(0, len(wanted), _CHUNK):
            chunk = query.where(answers.c.example.in_(wanted[start : start + _CHUNK]))
            found.update(self._read(partial(_pairs, chunk)))
        return found

    async def record(self, rows: Sequence[Entry]) -> None:
        """Journal answers and return when they are durable. An answer that is there already stays as it is.

        Raises StoreError when they could not be written; none of ``rows`` is in the store then, and it can be tried again.
        """
        for row in rows:
            self._note(row.program)
        await self._journal.record([_entry(row) for row in rows])

    def _note(self, program: str) -> None:
        now = time.time()
        if now - self._noted.get(program, 0.0) > DAY / 2:
            self._noted[program] = now
            self._journal.note(program=_text(program))

    # ------------------------------------------------------------ fits

    def fit(self, key: str) -> str | None:
        """What ``put_fit`` stored under ``key``."""
        now = time.time()
        row = self._read(
            lambda link: link.execute(sa.select(fits.c.payload, fits.c.used).where(fits.c.key == key)).first()
        )
        if row is None:
            return None
        if now - row.used > DAY:
            self._write(lambda link: link.execute(sa.update(fits).where(fits.c.key == key).values(used=now)))
        return cast(str, row.payload)

    def put_fit(self, key: str, payload: str) -> None:
        """Store the result of fitting; the newest under a key counts."""
        now = time.time()
        values = {"key": key, "payload": _json(payload), "created": now, "used": now}
        statement = self._insert(fits).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["key"], set_={name: statement.excluded[name] for name in ("payload", "created", "used")}
        )
        self._write(lambda link: link.execute(statement))

    # ------------------------------------------------------------ runs

    def start_run(self, task_name: str, task_hash: str, spec: str) -> str:
        """Open a run that this process drives. Returns its id: ten characters that sort by time."""
        now, who = time.time(), process.this()
        values = {
            "task": _text(task_name),
            "task_hash": task_hash,
            "spec": _json(spec),
            "status": "running",
            "summary": "{}",
            "started": now,
            "changed": now,
            **_columns(who),
        }

        def add(link: sa.Connection) -> str:
            for _ in range(100):
                id = self._new_id()
                statement = self._insert(runs).values(id=id, **values).on_conflict_do_nothing()
                # SQLAlchemy drops the row count of an INSERT unless asked to keep it.
                if link.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1:
                    return id
            raise StoreError("found no free run id in 100 tries", remedy="type the same command again")

        return self._write(add)

    def update_run(self, id: str, *, status: Status | None = None, summary: str | None = None) -> None:
        """Set what is given. Status ``running`` also makes this process the run's driver. Raises InputError: no such run."""
        values: dict[str, Any] = {"changed": time.time()}
        if status is not None:
            if status not in get_args(Status) or status == "interrupted":
                raise ValueError(f"status {status!r} cannot be stored")
            values["status"] = status
            if status == "running":
                values |= _columns(process.this())
        if summary is not None:
            values["summary"] = _json(summary)
        statement = sa.update(runs).where(runs.c.id == id).values(values)
        if self._write(lambda link: link.execute(statement).rowcount) == 0:
            raise _no_run(id)

    def put_rung(self, run: str, position: int, name: str, payload: str) -> None:
        """Store (or replace) the rung at ``position`` of a run."""
        values = {
            "run": run,
            "position": position,
            "name": _text(name),
            "payload": _json(payload),
            "changed": time.time(),
        }
        statement = self._insert(rungs).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=["run", "position"],
            set_={column: statement.excluded[column] for column in ("name", "payload", "changed")},
        )
        self._write(lambda link: link.execute(statement))

    def runs(self, limit: int = 50) -> list[Run]:
        """The newest runs, newest first."""
        query = sa.select(runs).order_by(runs.c.started.desc(), runs.c.id.desc()).limit(limit)
        return self._read(lambda link: [_run(row) for row in link.execute(query)])

    def run(self, name: str) -> Run:
        """The run with this id, or the only one whose id begins so, or the newest for ``last``. Raises InputError."""
        if name == "last":
            newest = self.runs(1)
            if not newest:
                raise InputError("there are no runs yet", remedy="make one: rung climb TASK.yaml")
            return newest[0]
        wanted = _text(name.lower())
        query = sa.select(runs).where(runs.c.id.startswith(wanted, autoescape=True)).order_by(runs.c.id).limit(6)
        found = self._read(lambda link: [_run(row) for row in link.execute(query)]) if wanted else []
        exact = [run for run in found if run.id == wanted]
        if exact or len(found) == 1:
            return (exact or found)[0]
        if found:
            some = ", ".join(run.id for run in found[:5]) + (", ..." if len(found) > 5 else "")
            raise InputError(f"{name!r} begins the ids of several runs: {some}", remedy="type more of the id")
        raise _no_run(name)

    def rungs(self, run: str) -> list[StoredRung]:
        """The rungs of a run (full id), in order."""
        columns = (rungs.c.position, rungs.c.name, rungs.c.payload, rungs.c.changed)
        query = sa.select(*columns).where(rungs.c.run == run).order_by(rungs.c.position)
        return self._read(lambda link: [StoredRung(*row) for row in link.execute(query)])

    # ------------------------------------------------------------ prompts

    def put_prompts(self, given: Sequence[StoredPrompt]) -> list[StoredPrompt]:
        """Store each as the next version of its name, all or none; one that says what its newest version says is that one.

        Returned as they are in the store.
        """

        def add(link: sa.Connection) -> list[StoredPrompt]:
            kept = []
            for prompt in given:
                newest = self._prompt(link, prompt.name, None)
                if newest is not None and (newest.hash, newest.payload) == (prompt.hash, _json(prompt.payload)):
                    kept.append(newest)
                    continue
                version = 1 if newest is None else newest.version + 1
                row = replace(prompt, payload=_json(prompt.payload), version=version, created=time.time())
                values = {column.name: getattr(row, column.name) for column in prompts.columns}
                values |= {key: _text(values[key]) for key in ("name", "root", "note")}
                link.execute(self._insert(prompts).values(values))
                kept.append(row)
            return kept

        return self._write(add)

    def prompt(self, name: str, version: int | None = None) -> StoredPrompt | None:
        """A version of a prompt, the newest where none is given; None where there is none."""
        return self._read(lambda link: self._prompt(link, name, version))

    def prompts(self, name: str | None = None) -> list[StoredPrompt]:
        """Every version of one prompt, or the newest version of each; by name, newest first."""
        query = sa.select(*prompts.columns).order_by(prompts.c.name, prompts.c.version.desc())
        if name is not None:
            query = query.where(prompts.c.name == _text(name))
        rows = self._read(lambda link: [StoredPrompt(**row._mapping) for row in link.execute(query)])
        return rows if name is not None else list({row.name: row for row in reversed(rows)}.values())[::-1]

    def _prompt(self, link: sa.Connection, name: str, version: int | None) -> StoredPrompt | None:
        query = sa.select(*prompts.columns).where(prompts.c.name == _text(name)).order_by(prompts.c.version.desc())
        if version is not None:
            query = query.where(prompts.c.version == version)
        row = link.execute(query.limit(1)).first()
        return None if row is None else StoredPrompt(**row._mapping)

    # ------------------------------------------------------------ what people say

    def put_rating(self, rating: StoredRating) -> None:
        """Store a verdict with the time; one that the rater gave on the same pair before is replaced."""
        values: dict[str, Any] = {column.name: getattr(rating, column.name) for column in ratings.columns}
        values = {key: _text(value) if isinstance(value, str) else value for key, value in values.items()}
        values["created"] = time.time()
        keys = [column.name for column in ratings.primary_key]
        statement = self._insert(ratings).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in values if name not in keys}
        )
        self._write(lambda link: link.execute(statement))

    def ratings(self, run: str) -> list[StoredRating]:
        """The verdicts on a run (full id), oldest first."""
        query = sa.select(*ratings.columns).where(ratings.c.run == run)
        query = query.order_by(ratings.c.created, ratings.c.rater, ratings.c.example, ratings.c.one, ratings.c.other)
        return self._read(lambda link: [StoredRating(**row._mapping) for row in link.execute(query)])

    def put_ab_test(self, name: str, spec: str) -> StoredABTest:
        """Begin an A/B test, unless there is one of that name. Returned as it is in the store."""
        values = {"name": _text(name), "spec": _json(spec), "stopped": "", "created": time.time()}
        query = sa.select(*splits.columns).where(splits.c.name == _text(name))

        def add(link: sa.Connection) -> StoredABTest:
            link.execute(self._insert(splits).values(values).on_conflict_do_nothing())
            return StoredABTest(**link.execute(query).one()._mapping)

        return self._write(add)

    def ab_test(self, name: str) -> StoredABTest | None:
        """The A/B test of that name."""
        return next((one for one in self.ab_tests() if one.name == _text(name)), None)

    def ab_tests(self) -> list[StoredABTest]:
        """Every A/B test, newest first."""
        query = sa.select(*splits.columns).order_by(splits.c.created.desc(), splits.c.name)
        return self._read(lambda link: [StoredABTest(**row._mapping) for row in link.execute(query)])

    def stop_ab_test(self, name: str, why: str) -> None:
        """Note why an A/B test was rolled back; the first reason stays. Empty takes it back."""
        statement = sa.update(splits).where(splits.c.name == _text(name)).values(stopped=_text(why))
        if why:
            statement = statement.where(splits.c.stopped == "")
        self._write(lambda link: link.execute(statement))

    def put_outcome(self, id: str, split: str, arm: str, caller: str) -> str:
        """Note that a response was given by an arm. Returns why its test was stopped, empty where it was not."""
        values = {"id": id, "split": _text(split), "arm": _text(arm), "caller": caller, "created": time.time()}
        query = sa.select(splits.c.stopped).where(splits.c.name == _text(split))

        def add(link: sa.Connection) -> str:
            link.execute(self._insert(outcomes).values(**values, counts=0).on_conflict_do_nothing())
            return link.execute(query).scalar_one_or_none() or ""

        return self._write(add)

    def score_outcome(self, split: str, id: str, score: float) -> StoredOutcome | None:
        """Note what came back about a response; a score that is there already stays. None: no such response in that test."""
        query = sa.select(*outcomes.columns).where(outcomes.c.id == _text(id), outcomes.c.split == _text(split))

        def score_it(link: sa.Connection) -> StoredOutcome | None:
            # Postgres: two answers of one caller must not both come first.
            row = link.execute(query.with_for_update()).first()
            if row is None:
                return None
            if row.score is None:
                if not self._lite:
                    key = sa.func.hashtext(row.split + row.caller)
                    link.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK & 0x7FFFFFFF, key)))
                same = sa.and_(outcomes.c.split == row.split, outcomes.c.caller == row.caller, outcomes.c.counts == 1)
                first = link.execute(sa.select(outcomes.c.id).where(same).limit(1)).first() is None
                values = {"score": score, "scored": time.time(), "counts": int(first)}
                link.execute(sa.update(outcomes).where(outcomes.c.id == row.id).values(values))
                row = link.execute(query).one()
            found = StoredOutcome(**row._mapping)
            return replace(found, counts=bool(found.counts))

        return self._write(score_it)

    def tally(self, split: str) -> dict[str, ArmTally]:
        """What came back so far, by arm."""
        c = outcomes.c
        mean = sa.func.coalesce(sa.func.avg(c.score), 0.0)
        total = sa.func.coalesce(sa.func.sum(c.score * c.counts), 0.0)
        columns = (c.arm, sa.func.count(), sa.func.count(c.score), mean, sa.func.sum(c.counts), total)
        query = sa.select(*columns).where(c.split == _text(split)).group_by(c.arm).order_by(c.arm)
        return self._read(
            lambda link: {
                arm: ArmTally(int(n), int(scored), float(mean), int(callers), float(total))
                for arm, n, scored, mean, callers, total in link.execute(query)
            }
        )

    # ------------------------------------------------------------ looks at test splits

    def put_look(self, look: StoredLook) -> None:
        """Note a look, with the time."""
        texts = {item.name: _text(getattr(look, item.name)) for item in fields(look) if item.name != "created"}
        self._write(lambda link: link.execute(self._insert(looks).values(**texts, created=time.time())))

    def looks(self) -> list[StoredLook]:
        """Every look at any test split, oldest first."""
        columns = [column for column in looks.columns if column.name != "id"]
        query = sa.select(*columns).order_by(looks.c.id)
        return self._read(lambda link: [StoredLook(**row._mapping) for row in link.execute(query)])

    # ------------------------------------------------------------ served requests

    def note_served(self, id: str, model: str, payload: str) -> bool:
        """Queue a served request; it is on disk within about half a second. False: the queue is full, it is left out."""
        return self._journal.note(served=Served(_text(id), _text(model), _json(payload), time.time()))

    async def settle(self) -> None:
        """Return when all that was noted before is on disk. Raises StoreError when it could not be written."""
        await self._journal.record(())

    def judge_served(
        self, id: str, *, score: float | None = None, correction: str | None = None
    ) -> StoredServed | None:
        """Note what came back about a served request; what is given replaces what was there. None: no such request is on disk."""
        values: dict[str, Any] = {"changed": time.time()}
        if score is not None:
            values["score"] = score
        if correction is not None:
            values["correction"] = _text(correction)
        query = sa.select(*served.columns).where(served.c.id == _text(id))
        statement = sa.update(served).where(served.c.id == _text(id)).values(values)

        def judge(link: sa.Connection) -> StoredServed | None:
            if link.execute(statement).rowcount == 0:
                return None
            return StoredServed(**link.execute(query).one()._mapping)

        return self._write(judge)

    def served(self, model: str = "") -> Iterator[StoredServed]:
        """Served requests in order of time, of one model id or all, read in chunks."""
        after: tuple[float, str] | None = None
        while True:
            query = sa.select(*served.columns).order_by(served.c.created, served.c.id).limit(_CHUNK)
            if model:
                query = query.where(served.c.model == _text(model))
            if after is not None:
                later = sa.and_(served.c.created == after[0], served.c.id > after[1])
                query = query.where(sa.or_(served.c.created > after[0], later))
            rows = self._read(partial(_served, query))
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1].created, rows[-1].id

    def forget_served(self, before: float) -> int:
        """Delete requests served before the time ``before`` (Unix seconds), in SQLite also from the file's free pages. How many."""

        def forget(link: sa.Connection) -> int:
            if self._lite:
                link.exec_driver_sql("PRAGMA secure_delete=ON")
            return link.execute(sa.delete(served).where(served.c.created < before)).rowcount

        gone = self._write(forget)
        if gone and self._lite:
            try:  # what was deleted must not live on in the log
                with self._writing, self._engine.connect() as link:
                    link.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except _BROKEN:
                pass
        return gone

    # ------------------------------------------------------------ responses

    def response(self, key: str) -> str | None:
        """The cached response under the exact key; counts a hit."""
        query = sa.select(responses.c.payload).where(responses.c.key == key)
        payload = self._read(lambda link: link.execute(query).scalar_one_or_none())
        if payload is not None:
            self._journal.note(hit=key)
        return payload

    async def put_response(self, key: str, payload: str) -> None:
        """Cache a response and return when it is durable; the first one under a key stays."""
        await self._journal.record((), ((key, _json(payload)),))

    def hits(self, key: str) -> int:
        """How often a cached response was used, as far as written (a hit is written within moments, not at once)."""
        query = sa.select(responses.c.hits).where(responses.c.key == key)
        return self._read(lambda link: link.execute(query).scalar_one_or_none()) or 0

    # ------------------------------------------------------------ gc

    def gc(self, *, before: float, dry: bool = False) -> Sweep:
        """Forget what was last used before the time ``before`` (Unix seconds); with ``dry`` only count it.

        Runs (and what people said of them) go by their start, answers by when their program was last climbed, fits and responses by their last use. So
        all answers of a run that stays do stay; a run that is being driven now stays with everything it has used.
        """
        driven = [run for run in self._unfinished() if run.status == "running"]
        # Uses are noted to the day: a day of grace keeps everything that a kept run has used.
        unused = min([before, *(run.started for run in driven)]) - DAY
        old_runs = sa.and_(runs.c.started < before, runs.c.id.not_in([run.id for run in driven]))
        known = sa.select(programs.c.program).where(programs.c.used >= unused)
        old_answers = sa.and_(answers.c.created < unused, answers.c.program.not_in(known))
        old_fits, old_responses = fits.c.used < unused, responses.c.used < before

        def sweep(link: sa.Connection) -> Sweep:
            gone = tuple(link.execute(sa.select(runs.c.id).where(old_runs).order_by(runs.c.id)).scalars())
            folders = tuple(link.execute(sa.select(fits.c.payload).where(old_fits).order_by(fits.c.key)).scalars())
            count = sa.func.count
            counts = [
                link.execute(sa.select(count()).select_from(table).where(condition)).scalar_one()
                for table, condition in ((answers, old_answers), (responses, old_responses))
            ]
            if not dry:
                for table in (rungs, ratings):
                    link.execute(sa.delete(table).where(table.c.run.in_(sa.select(runs.c.id).where(old_runs))))
                link.execute(sa.delete(runs).where(old_runs))
                link.execute(sa.delete(answers).where(old_answers))
                link.execute(sa.delete(programs).where(programs.c.used < unused))
                link.execute(sa.delete(fits).where(old_fits))
                link.execute(sa.delete(responses).where(old_responses))
            return Sweep(gone, counts[0], folders, counts[1], 0)

        if dry:
            return self._read(sweep)
        size = self._size()
        swept = self._write(sweep)
        self._compact()
        return replace(swept, bytes=max(0, size - self._size()))

    def _unfinished(self) -> list[Run]:
        query = sa.select(runs).where(runs.c.status == "running")
        return self._read(lambda link: [_run(row) for row in link.execute(query)])

    def _size(self) -> int:
        """Bytes on disk of a SQLite store; 0 for Postgres, which gives space back by itself."""
        if not self._lite:
            return 0
        sides = (Path(f"{self._url.database}{end}") for end in ("", "-wal"))
        return sum(side.stat().st_size for side in sides if side.exists())

    def _compact(self) -> None:
        """Give the freed pages back to the disk; left for another day when others are at work or space is short."""
        if not self._lite:
            return
        try:
            with self._writing, self._engine.connect() as link:
                link.exec_driver_sql("VACUUM")
                link.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except _BROKEN:
            return

    # ------------------------------------------------------------ the database underneath

    def migrate(self) -> None:
        """Bring the schema up to date, under a lock that other processes wait for. ``open_store`` has done it already."""
        if self._lite:
            path = Path(cast(str, self._url.database))
            try:
                _make_private(path)
            except OSError as error:
                raise self._explain(error) from error
            self._attempt(self._use_wal)
        if self._read(self._revision) == migrations.revisions()[-1]:
            return
        self._write(self._upgrade)

    def _upgrade(self, link: sa.Connection) -> None:
        if not self._lite:
            link.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        revision = self._revision(link)
        if revision == migrations.revisions()[-1]:
            return  # another process was quicker
        if revision is None:
            if sa.inspect(link).has_table(migrations.BEFORE):
                file = self._url.database if self._lite else ""
                raise StoreError(
                    f"{self.url} was made before the first release, and cannot be read any more",
                    remedy=f"begin a new one: mv {file} {file}.old" if file else f"name another store: {_NAME}",
                    code="old-store",
                )
            taken = sorted(set(sa.inspect(link).get_table_names()) & set(metadata.tables))
            if taken:
                raise StoreError(
                    f"{self.url} holds a table {taken[0]!r} that rung did not make",
                    remedy=f"name another store: {_NAME}",
                )
        migrations.upgrade(link)

    def _revision(self, link: sa.Connection) -> str | None:
        """The schema's revision; None: no schema yet. Raises StoreError when it is newer than this program."""
        if not sa.inspect(link).has_table(migrations.VERSION_TABLE):
            return None
        revision = link.exec_driver_sql(f"SELECT version_num FROM {migrations.VERSION_TABLE}").scalar_one_or_none()  # noqa: S608
        if revision is not None and revision not in migrations.revisions():
            raise StoreError(
                f"{self.url} has schema {revision}, this rung knows {migrations.revisions()[-1]} at most: "
                "a newer rung wrote it",
                remedy=f"type: pip install -U rung, or name another store: {_NAME}",
            )
        return cast("str | None", revision)

    def _use_wal(self) -> None:
        with self._engine.connect() as link:
            if link.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
                link.exec_driver_sql("PRAGMA journal_mode=WAL")

    def _lite_engine(self) -> sa.Engine:
        # SQLite's own waiting is cut in slices: between them _attempt sees the clock.
        engine = sa.create_engine(self._url, connect_args={"timeout": min(self._patience, 2.0)})

        @sa.event.listens_for(engine, "connect")
        def set_up(link: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
            link.isolation_level = None  # no BEGIN behind our back: see begin
            link.execute("PRAGMA synchronous=FULL")
            # Fewer, larger checkpoints: one of the default 1,000 pages would come with nearly every large batch.
            link.execute("PRAGMA wal_autocheckpoint=4000")
            link.execute("PRAGMA journal_size_limit=67108864")

        @sa.event.listens_for(engine, "begin")
        def begin(link: sa.Connection) -> None:
            # Taking the write lock at once is what makes SQLite wait for it instead of failing half-way.
            if link.get_execution_options().get("rung_write"):
                link.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def _postgres_engine(self) -> sa.Engine:
        require("psycopg", "postgres", "a Postgres store")
        engine = sa.create_engine(self._url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
        wait = f"{max(1, int(self._patience * 1000))}ms"

        @sa.event.listens_for(engine, "connect")
        def set_up(link: Any, _: ConnectionPoolEntry) -> None:
            with link.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", (wait,))
                # An acknowledged row is durable, whatever the server's default; stricter settings stay.
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
                )
            link.commit()

        return engine

    def _insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        return sqlite.insert(table) if self._lite else postgresql.insert(table)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        def once() -> T:
            with self._engine.connect() as link:
                return work(link)

        return self._attempt(once)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        def once() -> T:
            with self._writing, self._engine.connect().execution_options(rung_write=True) as link, link.begin():
                return work(link)

        return self._attempt(once)

    def _attempt(self, once: Callable[[], T]) -> T:
        """Do it; while another holds the lock or the connection drops, do it again until ``patience`` is over."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return once()
            except RungError:
                raise
            except _BROKEN as error:
                if not _passing(error) or time.monotonic() >= deadline:
                    raise self._explain(error) from error
            time.sleep(random.uniform(0.01, 0.05))

    def _write_batch(self, batch: Batch) -> None:
        now = time.time()
        # In key order: two processes that insert the same keys in different orders would deadlock Postgres.
        rows = [
            {
                "program": e.program,
                "example": e.example,
                "repeat": e.repeat,
                "payload": e.payload,
                "run": e.run,
                "created": now,
            }
            for e in sorted(batch.answers)
        ]
        cached = [
            {"key": key, "payload": p, "hits": 0, "created": now, "used": now} for key, p in sorted(batch.responses)
        ]
        used = [{"program": program, "used": now} for program in sorted(batch.programs)]
        hits = [{"name": key, "more": more, "now": now} for key, more in sorted(batch.hits.items())]
        asked = [row._asdict() for row in sorted(batch.served)]

        def work(link: sa.Connection) -> None:
            if rows:
                link.execute(self._insert(answers).on_conflict_do_nothing(), rows)
            if cached:
                link.execute(self._insert(responses).on_conflict_do_nothing(), cached)
            if used:
                statement = self._insert(programs)
                newer = {"used": statement.excluded.used}
                link.execute(statement.on_conflict_do_update(index_elements=["program"], set_=newer), used)
            if hits:
                count = {"hits": responses.c.hits + sa.bindparam("more"), "used": sa.bindparam("now")}
                link.execute(sa.update(responses).where(responses.c.key == sa.bindparam("name")).values(count), hits)
            if asked:
                link.execute(self._insert(served).on_conflict_do_nothing(), asked)

        self._write(work)

    def _new_id(self) -> str:
        """Milliseconds since 2025 (eight digits of base 32) and two random digits; within a process always increasing."""
        now = max(int(time.time() * 1000) - _EPOCH_MS, self._last_ms + 1)
        self._last_ms = now
        number = (now << 10) | random.getrandbits(10)
        return "".join(_DIGITS[(number >> shift) & 31] for shift in range(45, -1, -5))

    def _explain(self, error: BaseException) -> StoreError:
        """The error of the database as one of ours."""
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        state = getattr(cause, "sqlstate", None)
        reason = str(cause).strip().partition("\n")[0]
        if _locked(error):
            return StoreError(
                f"{self.url} stayed locked by another process for {self._patience:g} s",
                remedy="see who uses it (rung runs), wait for it or stop it, then type the same command again",
            )
        if primary == sqlite3.SQLITE_FULL or state == "53100" or self._cramped(error, primary):
            return StoreError(
                f"the disk is full: nothing of the last write was kept in {self.url}, all before it is safe",
                remedy="free some space on that disk, then type the same command again",
            )
        if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            file = self._url.database
            return StoreError(
                f"{file} is damaged or is not a rung store ({reason})",
                remedy=f"restore it from a copy, or start anew: mv {file} {file}.damaged",
            )
        if primary == sqlite3.SQLITE_READONLY or state in ("25006", "42501") or isinstance(cause, PermissionError):
            return StoreError(
                f"no permission to write to {self.url} ({reason})", remedy=f"name a store elsewhere: {_NAME}"
            )
        if primary == sqlite3.SQLITE_CANTOPEN or isinstance(cause, OSError):
            return StoreError(
                f"cannot open {self.url} ({reason}): expected a file in a folder that can be written to",
                remedy=f"name a store elsewhere: {_NAME}",
            )
        if isinstance(error, exc.OperationalError) and not self._lite:
            return StoreError(
                f"cannot reach {self.url}: {reason}",
                remedy="start the server, or correct the URL in the setting 'store'",
            )
        return StoreError(f"{self.url}: {type(cause).__name__}: {reason}")

    def _cramped(self, error: BaseException, primary: int | None) -> bool:
        """Whether an I/O error came of a full disk: SQLite cannot always tell (its shared-memory file, say)."""
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if primary not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return False
        folder = Path(cast(str, self._url.database)).parent
        return folder.exists() and shutil.disk_usage(folder).free < 64 * 1024


_NAME = "RUNG_STORE=sqlite:///FILE"


def _parse(text: str) -> URL:
    remedy = "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE; type: RUNG_STORE=sqlite:///.rung/rung.db"
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise InputError(f"{text!r} is not a store URL", remedy=remedy) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise InputError(f"stores of kind {url.drivername!r} are not known", remedy=remedy)
    if not url.database or url.database == ":memory:" or url.host or url.query:
        raise InputError(f"store URL {url.render_as_string()!r} names no plain file", remedy=remedy)
    # Absolute from here on, so that a later change of folder does not move the store.
    return URL.create("sqlite", database=str(Path(url.database).expanduser().absolute()))


def _make_private(path: Path) -> None:
    """Make the store's file, and its folder where that is new or rung's own, readable by their owner alone: answers and
    recorded requests lie in it. SQLite gives the files beside it the same rights. What is there already stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        if path.parent.name == ".rung":  # made by another verb, which keeps nothing private
            with suppress(OSError):
                path.parent.chmod(0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _locked(error: BaseException) -> bool:
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(cause, "sqlstate", None) in ("55P03", "40P01", "40001") or isinstance(error, exc.TimeoutError)


def _passing(error: BaseException) -> bool:
    """Whether trying again may help: a lock, or a connection that was cut (inserts are idempotent, so this is safe)."""
    return _locked(error) or bool(getattr(error, "connection_invalidated", False))


def _text(value: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return _SURROGATE.sub("\ufffd", value).replace("\0", "\ufffd")


def _json(text: str) -> str:
    """JSON text that every database takes: half surrogate pairs, legal in JSON only as escapes, are escaped."""
    if "\0" in text:
        raise ValueError("a payload is JSON text and cannot hold a raw NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text


def _entry(row: Entry) -> Entry:
    program, example, payload, repeat, run = row
    if not 0 <= repeat < 1 << 31:
        raise ValueError(f"repeat is {repeat}, expected 0 or more")
    if not (program + example + run).isprintable():
        program, example, run = _text(program), _text(example), _text(run)
    clean = _json(payload)
    return row if clean is payload and program is row.program else Entry(program, example, clean, repeat, run)


def _columns(who: Process) -> dict[str, Any]:
    return {"host": who.host, "boot": who.boot, "pid": who.pid, "born": who.born}


def _run(row: sa.Row[Any]) -> Run:
    who = Process(row.host, row.boot, row.pid, row.born)
    status: Status = "interrupted" if row.status == "running" and process.died(who) else row.status
    return Run(row.id, row.task, row.task_hash, status, row.started, row.changed, row.spec, row.summary, who)


def _pairs(query: sa.Select[Any], link: sa.Connection) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in link.execute(query)]


def _served(query: sa.Select[Any], link: sa.Connection) -> list[StoredServed]:
    return [StoredServed(**row._mapping) for row in link.execute(query)]


def _no_run(name: str) -> InputError:
    return InputError(f"there is no run {name!r}", remedy="list them: rung runs")
