"""What need not be made again: results of fitting and served responses, by exact key."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import cast

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, Index, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text
from rung.store.tables.answers import DAY

fits = Table(
    "fits",
    metadata,
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("used", Double, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("hits", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("used", Double, nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Index("responses_subject", "subject"),
)
"""``subject`` is a keyed hash of whom a response is about, empty where that is not kept."""


class FitTable:
    """What fitting made; payloads are JSON text."""

    table = fits

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        """What was ``put`` under ``key``."""
        now = time.time()
        found = self._database.rows(sa.select(fits.c.payload, fits.c.used).where(fits.c.key == key))
        if not found:
            return None
        if now - found[0].used > DAY:
            self._database.execute(sa.update(fits).where(fits.c.key == key).values(used=now))
        return cast(str, found[0].payload)

    def put(self, key: str, payload: str) -> None:
        """Store the result of fitting; the newest under a key counts."""
        now = time.time()
        values = {"key": key, "payload": json_text(payload), "created": now, "used": now}
        self._database.execute(self._database.upsert(fits, ("payload", "created", "used")).values(values))


class ResponseTable:
    """Cached responses; payloads are JSON text."""

    table = responses

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._rows = database.journal.channel("responses", self._write)
        self._newest = database.journal.channel("kept responses", self._write_newest)
        self._hits = database.journal.channel("hits", self._write_hits)

    def get(self, key: str) -> str | None:
        """The cached response under the exact key; counts a hit."""
        found = self._database.rows(sa.select(responses.c.payload).where(responses.c.key == key))
        if not found:
            return None
        self._hits.note(key)
        return cast(str, found[0].payload)

    async def find(self, key: str) -> str | None:
        """As ``get``, for an event loop: in SQLite a point read takes less time than to hand it to a thread would."""
        try:
            link = self._database.reader()
            if link is None:
                return await asyncio.to_thread(self.get, key)
            found = link.execute("SELECT payload FROM responses WHERE key = ?", (key,)).fetchone()
        except (
            Exception
        ):  # a lock, or worse (SQLCipher's errors are none of sqlite3's): the patient way knows what to do
            return await asyncio.to_thread(self.get, key)
        if found is None:
            return None
        self._hits.note(key)
        return cast(str, found[0])

    async def put(self, key: str, payload: str) -> None:
        """Cache a response and return when it is durable; the first one under a key stays."""
        await self._rows.record([(key, json_text(payload))])

    def keep(self, key: str, payload: str, subject: str = "") -> bool:
        """Cache a response within moments; the newest under a key stays. False: the queue is full, it is left out."""
        return self._newest.note((key, json_text(payload), subject), size=len(payload))

    def hits(self, key: str) -> int:
        """How often a cached response was used, as far as written (a hit is written within moments, not at once)."""
        found = self._database.rows(sa.select(responses.c.hits).where(responses.c.key == key))
        return found[0].hits if found else 0

    def _write(self, link: sa.Connection, rows: list[tuple[str, str]]) -> None:
        now = time.time()
        values = [{"key": key, "payload": text, "hits": 0, "created": now, "used": now} for key, text in sorted(rows)]
        link.execute(self._database.insert(responses).on_conflict_do_nothing(), values)

    def _write_newest(self, link: sa.Connection, rows: list[tuple[str, str, str]]) -> None:
        now = time.time()
        newest = {
            key: {"key": key, "payload": text, "hits": 0, "created": now, "used": now, "subject": subject}
            for key, text, subject in rows
        }
        statement = self._database.upsert(responses, ("payload", "created", "used", "subject"))
        link.execute(statement, [newest[key] for key in sorted(newest)])

    def _write_hits(self, link: sa.Connection, rows: list[str]) -> None:
        now = time.time()
        values = [{"name": key, "more": more, "now": now} for key, more in sorted(Counter(rows).items())]
        count = {"hits": responses.c.hits + sa.bindparam("more"), "used": sa.bindparam("now")}
        link.execute(sa.update(responses).where(responses.c.key == sa.bindparam("name")).values(count), values)
