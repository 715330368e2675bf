"""Results by key: what a batch's line, a broker's message or a table's row was answered with, so that none is asked
twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Integer, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain

_CHUNK = 500

results = Table(
    "results",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created", Double, nullable=False),
    Index("results_subject", "subject"),
)
"""``scope`` is the work that a result belongs to, ``payload`` JSON."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result; ``payload`` is JSON text, ``failed`` says that it is an error's."""

    scope: str
    key: str
    payload: str
    failed: bool = False
    subject: str = ""
    created: float = 0.0


class ResultTable:
    """Results by scope and key."""

    table = results

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._rows = database.journal.channel("results", self._write)
        self._attempts = database.journal.channel("attempts", self._count)

    async def put(self, found: Sequence[StoredResult]) -> None:
        """Keep results and return when they are durable; one that is there already stays, unless it had failed."""
        await self._rows.record(found)

    async def attempt(self, scope: str, key: str, before: int) -> None:
        """Count one more attempt at what has no result yet: a failed row with the payload ``{"attempts": N}``. Two that
        count at once are two. ``before``: how many there were when none was counted."""
        await self._attempts.record([(scope, key, before)])

    def get(self, scope: str, keys: Sequence[str]) -> dict[str, StoredResult]:
        """Those of ``keys`` that are there."""
        found: dict[str, StoredResult] = {}
        for start in range(0, len(keys), _CHUNK):
            some = [plain(key) for key in keys[start : start + _CHUNK]]
            query = sa.select(*results.columns).where(results.c.scope == plain(scope), results.c.key.in_(some))
            found |= {row.key: _stored(row) for row in self._database.rows(query)}
        return found

    def all(self, scope: str) -> Iterator[StoredResult]:
        """All of a scope in order of their keys, read in chunks."""
        after = ""
        while True:
            query = sa.select(*results.columns).where(results.c.scope == plain(scope), results.c.key > after)
            rows = self._database.rows(query.order_by(results.c.key).limit(_CHUNK))
            yield from map(_stored, rows)
            if len(rows) < _CHUNK:
                return
            after = rows[-1].key

    def count(self, scope: str) -> tuple[int, int]:
        """How many there are, and how many of them failed."""
        c = results.c
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.failed), 0)).where(c.scope == plain(scope))
        total, failed = self._database.rows(query)[0]
        return int(total), int(failed)

    def forget(self, scope: str) -> int:
        """Delete a scope. How many results it had."""
        return self._database.execute(sa.delete(results).where(results.c.scope == plain(scope)))

    def _count(self, link: sa.Connection, rows: list[tuple[str, str, int]]) -> None:
        c = results.c
        for scope, key, before in sorted(rows):
            self._database.exclude(link, f"{scope}\0{key}")
            place = sa.and_(c.scope == plain(scope), c.key == plain(key), c.failed == 1)
            found = link.execute(sa.select(c.payload).where(place)).scalar_one_or_none()
            attempts = 1 + (before if found is None else int(json.loads(found)["attempts"]))
            self._write(link, [StoredResult(scope, key, json.dumps({"attempts": attempts}), failed=True)])

    def _write(self, link: sa.Connection, rows: list[StoredResult]) -> None:
        now = time.time()
        values: dict[tuple[str, str], dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: (row.scope, row.key)):
            if (before := values.get((row.scope, row.key))) is not None and not before["failed"]:
                continue  # as between two writes: what is there stays, unless it had failed
            values[row.scope, row.key] = {
                "scope": plain(row.scope),
                "key": plain(row.key),
                "payload": json_text(row.payload),
                "failed": int(row.failed),
                "subject": row.subject,
                "created": now,
            }
        statement = self._database.insert(results)
        changed = {name: statement.excluded[name] for name in ("payload", "failed", "subject", "created")}
        link.execute(
            statement.on_conflict_do_update(index_elements=["scope", "key"], set_=changed, where=results.c.failed == 1),
            list(values.values()),
        )


def _stored(row: Any) -> StoredResult:
    return StoredResult(row.scope, row.key, row.payload, bool(row.failed), row.subject, row.created)
