"""The journal of answers: one row an answer, keyed by content, and when each program was last used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Column, Double, Integer, Table, Text

from rung.store.engine.database import StoreDatabase, metadata, serial
from rung.store.engine.values import json_text, plain

DAY = 86400.0

_CHUNK = 1000

answers = Table(
    "answers",
    metadata,
    # Rows arrive in id order, so payloads are appended; only the narrow unique index is hit at random places.
    Column("id", serial, primary_key=True),
    Column("program", Text, nullable=False),
    Column("example", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("created", Double, nullable=False),
    sa.UniqueConstraint("program", "example", "repeat", name="answers_key"),
)
"""``run`` is the run that first made it, ``created`` Unix seconds."""

programs = Table(
    "programs",
    metadata,
    Column("program", Text, primary_key=True),
    Column("used", Double, nullable=False),
)
"""When answers of a program were last asked for or recorded, to the day: what ``gc`` goes by."""


class Entry(NamedTuple):
    """One answer for the journal: hashes of the program and the example, JSON text, and the run that made it."""

    program: str
    example: str
    payload: str
    repeat: int = 0
    run: str = ""


class AnswerTable:
    """Answers of programs to examples."""

    table = answers

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._rows = database.journal.channel("answers", self._write)
        self._uses = database.journal.channel("programs", self._write_uses)
        self._noted: dict[str, float] = {}

    def recall(self, program: str, examples: Sequence[str], repeat: int = 0) -> dict[str, str]:
        """The journalled payloads of a program's answers, by example; examples without one are left out."""
        self._note(program)
        columns = (answers.c.example, answers.c.payload)
        query = sa.select(*columns).where(answers.c.program == plain(program), answers.c.repeat == repeat)
        found: dict[str, str] = {}
        wanted = list(dict.fromkeys(plain(example) for example in examples))
        for start in range(0, len(wanted), _CHUNK):
            rows = self._database.rows(query.where(answers.c.example.in_(wanted[start : start + _CHUNK])))
            found.update((row[0], row[1]) for row in rows)
        return found

    async def record(self, rows: Sequence[Entry]) -> None:
        """Journal answers and return when they are durable. An answer that is there already stays as it is.

        Raises StoreError when they could not be written; none of ``rows`` is in the store then, and it can be tried
        again.
        """
        for row in rows:
            self._note(row.program)
        await self._rows.record([_clean(row) for row in rows])

    def _note(self, program: str) -> None:
        now = time.time()
        if now - self._noted.get(program, 0.0) > DAY / 2:
            self._noted[program] = now
            self._uses.note(plain(program))

    def _write(self, link: sa.Connection, rows: list[Entry]) -> None:
        now = time.time()
        values = [
            {"program": e.program, "example": e.example, "repeat": e.repeat, "payload": e.payload, "run": e.run, "created": now}
            for e in sorted(rows)
        ]  # fmt: skip
        link.execute(self._database.insert(answers).on_conflict_do_nothing(), values)

    def _write_uses(self, link: sa.Connection, rows: list[str]) -> None:
        now = time.time()
        values: list[dict[str, Any]] = [{"program": program, "used": now} for program in sorted(set(rows))]
        link.execute(self._database.upsert(programs, ("used",)), values)


def _clean(row: Entry) -> Entry:
    program, example, payload, repeat, run = row
    if not 0 <= repeat < 1 << 31:
        raise ValueError(f"repeat is {repeat}, expected 0 or more")
    if not (program + example + run).isprintable():
        program, example, run = plain(program), plain(example), plain(run)
    clean = json_text(payload)
    return row if clean is payload and program is row.program else Entry(program, example, clean, repeat, run)
