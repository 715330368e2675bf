"""Runs (one climb or evaluation each) and their rungs."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy import Column, Double, Integer, Table, Text

from rung.core.errors import InputError, StoreError
from rung.store.engine import process
from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.process import Process
from rung.store.engine.values import json_text, pick, plain

Status = Literal["running", "done", "stopped", "failed", "interrupted"]
"""``interrupted`` is never stored: it is how a running run reads whose process is gone."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH_MS = 1_735_689_600_000  # 2025-01-01

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("changed", Double, nullable=False),
    # The process that drives the run, so that a dead one can be told from a slow one (process.py).
    Column("host", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", Text, nullable=False),
)

rungs = Table(
    "rungs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("changed", Double, nullable=False),
)


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


class RunTable:
    """Runs and their rungs."""

    table = runs

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._last_ms = 0

    def start(self, task_name: str, task_hash: str, spec: str) -> str:
        """Open a run that this process drives. Returns its id: ten characters that sort by time."""
        now = time.time()
        values = {
            "task": plain(task_name),
            "task_hash": task_hash,
            "spec": json_text(spec),
            "status": "running",
            "summary": "{}",
            "started": now,
            "changed": now,
            **asdict(process.this()),
        }

        def add(link: sa.Connection) -> str:
            for _ in range(100):
                id = self._new_id()
                statement = self._database.insert(runs).values(id=id, **values).on_conflict_do_nothing()
                # SQLAlchemy drops the row count of an INSERT unless asked to keep it.
                if link.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1:
                    return id
            raise StoreError("found no free run id in 100 tries", remedy="type the same command again")

        return self._database.write(add)

    def update(self, id: str, *, status: Status | None = None, summary: str | None = None) -> None:
        """Set what is given. Status ``running`` also makes this process the run's driver. Raises InputError: no such
        run."""
        values: dict[str, Any] = {"changed": time.time()}
        if status is not None:
            if status not in get_args(Status) or status == "interrupted":
                raise ValueError(f"status {status!r} cannot be stored")
            values["status"] = status
            if status == "running":
                values |= asdict(process.this())
        if summary is not None:
            values["summary"] = json_text(summary)
        if self._database.execute(sa.update(runs).where(runs.c.id == id).values(values)) == 0:
            raise _no_run(id)

    def newest(self, limit: int = 50) -> list[Run]:
        """The newest runs, newest first."""
        return self._select(sa.select(runs).order_by(runs.c.started.desc(), runs.c.id.desc()).limit(limit))

    def find(self, name: str) -> Run:
        """The run with this id, or the only one whose id begins so, or the newest for ``last``. Raises InputError."""
        if name == "last":
            newest = self.newest(1)
            if not newest:
                raise InputError("there are no runs yet", remedy="make one: rung climb TASK.yaml")
            return newest[0]
        wanted = plain(name.lower())
        query = sa.select(runs).where(runs.c.id.startswith(wanted, autoescape=True)).order_by(runs.c.id).limit(6)
        found = self._select(query) if wanted else []
        run = pick(found, wanted, "runs")
        if run is None:
            raise _no_run(name)
        return run

    def driven(self) -> list[Run]:
        """The runs that a living process drives."""
        return [
            run for run in self._select(sa.select(runs).where(runs.c.status == "running")) if run.status == "running"
        ]

    def put_rung(self, run: str, position: int, name: str, payload: str) -> None:
        """Store (or replace) the rung at ``position`` of a run."""
        values = {"run": run, "position": position, "name": plain(name), "payload": json_text(payload)}
        statement = self._database.upsert(rungs, ("name", "payload", "changed"))
        self._database.execute(statement.values(**values, changed=time.time()))

    def rungs(self, run: str) -> list[StoredRung]:
        """The rungs of a run (full id), in order."""
        columns = (rungs.c.position, rungs.c.name, rungs.c.payload, rungs.c.changed)
        query = sa.select(*columns).where(rungs.c.run == run).order_by(rungs.c.position)
        return [StoredRung(*row) for row in self._database.rows(query)]

    def _select(self, query: sa.Select[Any]) -> list[Run]:
        return [_run(row) for row in self._database.rows(query)]

    def _new_id(self) -> str:
        """Milliseconds since 2025 (eight digits of base 32) and two random digits; within a process always
        increasing."""
        now = max(int(time.time() * 1000) - _EPOCH_MS, self._last_ms + 1)
        self._last_ms = now
        number = (now << 10) | random.getrandbits(10)
        return "".join(_DIGITS[(number >> shift) & 31] for shift in range(45, -1, -5))


def _run(row: sa.Row[Any]) -> Run:
    who = Process(row.host, row.boot, row.pid, row.born)
    status: Status = "interrupted" if row.status == "running" and process.died(who) else row.status
    return Run(row.id, row.task, row.task_hash, status, row.started, row.changed, row.spec, row.summary, who)


def _no_run(name: str) -> InputError:
    return InputError(f"there is no run {name!r}", remedy="list them: rung runs")
