"""Each time that results on a test split were made or read. Looks outlive their runs."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import Column, Double, Table, Text

from rung.store.engine.database import StoreDatabase, metadata, serial
from rung.store.engine.values import plain

looks = Table(
    "looks",
    metadata,
    Column("id", serial, primary_key=True),
    Column("sketch", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""``sketch`` are some of the split's hashes of examples, by which splits that share examples are told; ``what`` did it,
for ``who``."""


@dataclass(frozen=True, slots=True)
class StoredLook:
    """A look at a test split: some of its examples' hashes, whose run and program it was, ``what`` looked and for
    ``who``."""

    sketch: str
    task: str
    task_hash: str
    run: str
    program: str
    what: str
    who: str = ""
    created: float = 0.0


class LookTable:
    """Looks at test splits."""

    table = looks

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, look: StoredLook) -> None:
        """Note a look, with the time."""
        texts = {name: plain(value) for name, value in asdict(look).items() if name != "created"}
        self._database.execute(self._database.insert(looks).values(**texts, created=time.time()))

    def all(self) -> list[StoredLook]:
        """Every look at any test split, oldest first."""
        columns = [column for column in looks.columns if column.name != "id"]
        return [StoredLook(**row._mapping) for row in self._database.rows(sa.select(*columns).order_by(looks.c.id))]
