"""What studies found: one row a study that was made, with its options and its records."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy import Column, Double, Table, Text

from rung.core.errors import InputError
from rung.store.engine.database import StoreDatabase, metadata, serial
from rung.store.engine.values import json_text, plain

studies = Table(
    "studies",
    metadata,
    Column("id", serial, primary_key=True),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("created", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """``name`` is the study's, ``subject`` the task, run or files it was about; ``options`` and ``found`` are JSON
    text. ``id`` 0: not stored yet."""

    name: str
    subject: str
    options: str
    found: str
    created: float = 0.0
    id: int = 0


class StudyTable:
    """Studies that were made, numbered from 1."""

    table = studies

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, study: StoredStudy) -> int:
        """Store it with the time. Returns its number."""
        values = asdict(study) | {"options": json_text(study.options), "found": json_text(study.found)}
        values |= {"subject": plain(study.subject), "created": time.time()}
        del values["id"]
        statement = self._database.insert(studies).values(values).returning(studies.c.id)
        return self._database.write(lambda link: int(link.execute(statement).scalar_one()))

    def newest(self, limit: int = 50) -> list[StoredStudy]:
        """The newest studies, newest first."""
        query = sa.select(*studies.columns).order_by(studies.c.id.desc()).limit(limit)
        return [StoredStudy(**row._mapping) for row in self._database.rows(query)]

    def find(self, id: str) -> StoredStudy:
        """The study of that number, or the newest for ``last``. Raises InputError."""
        query = sa.select(*studies.columns).order_by(studies.c.id.desc()).limit(1)
        if id != "last":
            if not id.isdecimal() or len(id) > 18:
                raise InputError(f"there is no study {id!r}", remedy="list them: rung studies")
            query = query.where(studies.c.id == int(id))
        rows = self._database.rows(query)
        if not rows:
            raise InputError(f"there is no study {id!r}", remedy="list them: rung studies")
        return StoredStudy(**rows[0]._mapping)
