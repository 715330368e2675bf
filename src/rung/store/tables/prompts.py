"""Versions of prompts, from 1."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Column, Double, Integer, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain

prompts = Table(
    "prompts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("root_hash", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""``hash`` covers the root's content as it was then (``root_hash``), ``root`` is its name."""


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


class PromptTable:
    """Every version of every prompt."""

    table = prompts

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, given: Sequence[StoredPrompt]) -> list[StoredPrompt]:
        """Store each as the next version of its name, all or none; one that says what its newest version says is that
        one.

        Returned as they are in the store.
        """

        def add(link: sa.Connection) -> list[StoredPrompt]:
            kept = []
            for prompt in given:
                newest = _find(link, prompt.name, None)
                if newest is not None and (newest.hash, newest.payload) == (prompt.hash, json_text(prompt.payload)):
                    kept.append(newest)
                    continue
                version = 1 if newest is None else newest.version + 1
                row = replace(prompt, payload=json_text(prompt.payload), version=version, created=time.time())
                cleaned = {key: plain(getattr(row, key)) for key in ("name", "root", "note")}
                link.execute(self._database.insert(prompts).values(asdict(row) | cleaned))
                kept.append(row)
            return kept

        return self._database.write(add)

    def get(self, name: str, version: int | None = None) -> StoredPrompt | None:
        """A version of a prompt, the newest where none is given; None where there is none."""
        return self._database.read(lambda link: _find(link, name, version))

    def all(self, name: str | None = None) -> list[StoredPrompt]:
        """Every version of one prompt, or the newest version of each; by name, newest first."""
        query = sa.select(*prompts.columns).order_by(prompts.c.name, prompts.c.version.desc())
        if name is not None:
            query = query.where(prompts.c.name == plain(name))
        rows = [StoredPrompt(**row._mapping) for row in self._database.rows(query)]
        return rows if name is not None else list({row.name: row for row in reversed(rows)}.values())[::-1]


def _find(link: sa.Connection, name: str, version: int | None) -> StoredPrompt | None:
    query = sa.select(*prompts.columns).where(prompts.c.name == plain(name)).order_by(prompts.c.version.desc())
    if version is not None:
        query = query.where(prompts.c.version == version)
    row = link.execute(query.limit(1)).first()
    return None if row is None else StoredPrompt(**row._mapping)
