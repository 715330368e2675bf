"""Requests that were answered over HTTP with recording on, and what came back about them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain
from rung.store.trail.tables import episodes

_CHUNK = 1000

served = Table(
    "served",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("score", Double),
    Column("correction", Text),
    Column("changed", Double),
    Column("subject", Text, nullable=False, server_default=""),
    Index("served_created", "created"),
    Index("served_subject", "subject"),
)
"""By response id; ``subject`` is a keyed hash of whom the request was about, empty where that is not kept."""


@dataclass(frozen=True, slots=True)
class StoredServed:
    """A request that was served; ``payload`` is JSON text. ``score`` (0..1) and ``correction`` came back about it at
    ``changed``."""

    id: str
    model: str
    payload: str
    created: float
    score: float | None = None
    correction: str | None = None
    changed: float | None = None
    subject: str = ""


class ServedTable:
    """Served requests, by the response's id."""

    table = served

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._rows = database.journal.channel("served requests", self._write)

    def note(self, id: str, model: str, payload: str, subject: str = "") -> bool:
        """Queue a served request; it is on disk within about half a second. False: the queue is full, it is left
        out."""
        row = {
            "id": plain(id),
            "model": plain(model),
            "payload": json_text(payload),
            "created": time.time(),
            "subject": subject,
        }
        return self._rows.note(row, size=len(payload))

    def get(self, id: str) -> StoredServed | None:
        """One served request, as far as it is on disk."""
        found = self._database.rows(sa.select(*served.columns).where(served.c.id == plain(id)))
        return StoredServed(**found[0]._mapping) if found else None

    def judge(self, id: str, *, score: float | None = None, correction: str | None = None) -> StoredServed | None:
        """Note what came back about a served request; what is given replaces what was there. None: no such request is
        on disk."""
        values: dict[str, Any] = {"changed": time.time()}
        if score is not None:
            values["score"] = score
        if correction is not None:
            values["correction"] = plain(correction)
        query = sa.select(*served.columns).where(served.c.id == plain(id))
        statement = sa.update(served).where(served.c.id == plain(id)).values(values)

        def update(link: sa.Connection) -> StoredServed | None:
            if link.execute(statement).rowcount == 0:
                return None
            return StoredServed(**link.execute(query).one()._mapping)

        return self._database.write(update)

    def all(self, model: str = "", after: tuple[float, str] | None = None) -> Iterator[StoredServed]:
        """Served requests in order of time, of one model id or all, read in chunks; with ``after`` (created, id) those
        behind that one."""
        while True:
            query = sa.select(*served.columns).order_by(served.c.created, served.c.id).limit(_CHUNK)
            if model:
                query = query.where(served.c.model == plain(model))
            if after is not None:
                later = sa.and_(served.c.created == after[0], served.c.id > after[1])
                query = query.where(sa.or_(served.c.created > after[0], later))
            rows = [StoredServed(**row._mapping) for row in self._database.rows(query)]
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1].created, rows[-1].id

    def missing(self, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` that are (no longer) traces of this store: neither a served request nor an episode."""
        left = list(dict.fromkeys(map(plain, ids)))
        found: set[str] = set()
        for start in range(0, len(left), _CHUNK):
            some = left[start : start + _CHUNK]
            for column in (served.c.id, episodes.c.id):
                found |= {row[0] for row in self._database.rows(sa.select(column).where(column.in_(some)))}
        return set(left) - found

    def unsaid(self, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` that are served requests of which nothing is said (any more): no score and no correction."""
        left, found = list(dict.fromkeys(map(plain, ids))), set[str]()
        for start in range(0, len(left), _CHUNK):
            mine = served.c.id.in_(left[start : start + _CHUNK])
            query = sa.select(served.c.id).where(mine, served.c.score.is_(None), served.c.correction.is_(None))
            found |= {row[0] for row in self._database.rows(query)}
        return found

    def _write(self, link: sa.Connection, rows: list[dict[str, Any]]) -> None:
        rows = sorted(rows, key=lambda row: str(row["id"]))
        link.execute(self._database.insert(served).on_conflict_do_nothing(), rows)
