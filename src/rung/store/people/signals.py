"""What people said or did about an answer, one row each: ratings, edits and demonstrations by whom, and behaviour."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Table, Text

from rung.store.engine.database import StoreDatabase, metadata, serial
from rung.store.engine.values import plain
from rung.store.people.served import served

signals = Table(
    "signals",
    metadata,
    Column("id", serial, primary_key=True),
    Column("answer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("text", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("created", Double, nullable=False),
    Index("signals_answer", "answer"),
    Index("signals_person", "person"),
)
"""``answer`` is the id of what was served, ``kind`` what was said or done, ``value`` how much of it, ``text`` its
words."""


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """One thing said or done about an answer. ``person``: who, as the caller names people; empty: nobody knows."""

    answer: str
    kind: str
    value: float = 0.0
    text: str = ""
    person: str = ""
    created: float = 0.0


class SignalTable:
    """What came back about served answers, in full; ``served`` holds the last explicit word alone."""

    table = signals

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def add(self, rows: Sequence[StoredSignal]) -> None:
        """Store rows; one without a time gets the time now."""
        values: list[dict[str, Any]] = [
            {name: plain(value) if isinstance(value, str) else value for name, value in asdict(row).items()}
            | {"created": row.created or time.time()}
            for row in rows
        ]
        if values:
            self._database.write(lambda link: link.execute(sa.insert(signals), values))

    def all(self, *, answer: str = "", person: str = "") -> list[StoredSignal]:
        """Rows of an answer, of a person, or all, oldest first."""
        columns = [column for column in signals.columns if column.name != "id"]
        query = sa.select(*columns).order_by(signals.c.created, signals.c.id)
        if answer:
            query = query.where(signals.c.answer == plain(answer))
        if person:
            query = query.where(signals.c.person == plain(person))
        return [StoredSignal(**row._mapping) for row in self._database.rows(query)]

    def forget(self, *names: str) -> int:
        """Delete all of one person, by any of their ``names``, in SQLite also from the file's free pages. How many
        rows."""
        mine = signals.c.person.in_([plain(name) for name in names])
        return self._database.erase(lambda link: withdraw(link, mine))


def withdraw(link: sa.Connection, said: sa.ColumnElement[bool]) -> int:
    """Delete the rows for which ``said`` holds; the score and the correction of an answer that they gave are again what
    others said of it before, or nothing. How many rows."""
    columns = {"rating": ("score", signals.c.value), "edit": ("correction", signals.c.text),
               "demonstration": ("correction", signals.c.text)}  # fmt: skip
    query = sa.select(signals.c.answer, signals.c.kind).where(said, signals.c.kind.in_(columns)).distinct()
    touched = link.execute(query).all()
    gone = link.execute(sa.delete(signals).where(said)).rowcount
    for answer, kind in touched:
        name, value = columns[kind]
        kinds = [other for other, (place, _) in columns.items() if place == name]
        left = sa.select(value).where(signals.c.answer == answer, signals.c.kind.in_(kinds))
        last = left.order_by(signals.c.created.desc(), signals.c.id.desc()).limit(1)
        link.execute(sa.update(served).where(served.c.id == answer).values({name: link.execute(last).scalar()}))
    return gone
