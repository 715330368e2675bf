"""Items of memory by user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Integer, Table, Text

from rung.core.codec import canonical
from rung.core.types.memory import MemoryItem
from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain

memories = Table(
    "memories",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("quote", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("begin", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("slot", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("data", Text, nullable=False),
    Index("memories_user", "user", "owner"),
)
"""``source`` is EPISODE#EVENT, ``begin`` and ``end`` are characters of that event's text."""


class MemoryTable:
    """Items of memory; every query names the user."""

    table = memories

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def keep(self, items: Sequence[MemoryItem]) -> None:
        """See ``MemoryShelf.keep``; durable when this returns."""
        if not items:
            return
        statement = self._database.insert(memories).on_conflict_do_nothing()

        def work(link: sa.Connection) -> None:
            for item in items:
                if link.execute(statement, _row(item)).rowcount and item.slot:
                    link.execute(
                        sa.delete(memories).where(
                            memories.c.user == plain(item.user),
                            memories.c.owner == item.owner,
                            memories.c.slot == item.slot,
                            memories.c.id != item.id,
                        )
                    )

        self._database.write(work)

    def of(self, user: str, owner: str | None = None) -> list[MemoryItem]:
        """See ``MemoryShelf.of``."""
        query = sa.select(memories).where(memories.c.user == plain(user)).order_by(memories.c.at, memories.c.id)
        if owner is not None:
            query = query.where(memories.c.owner == owner)
        return [_item(row) for row in self._database.rows(query)]

    def edit(self, user: str, id: str, text: str) -> bool:
        """See ``MemoryShelf.edit``."""
        mine = sa.update(memories).where(memories.c.id == id, memories.c.user == plain(user))
        return self._database.execute(mine.values(text=plain(text))) > 0

    def users(self) -> list[tuple[str, int]]:
        """Everybody of whom something is remembered, and how many items."""
        query = sa.select(memories.c.user, sa.func.count()).group_by(memories.c.user).order_by(memories.c.user)
        return [(row[0], row[1]) for row in self._database.rows(query)]


def _row(item: MemoryItem) -> dict[str, Any]:
    texts = {name: plain(getattr(item, name)) for name in ("user", "text", "quote", "source", "slot")}
    whole = {name: getattr(item, name) for name in ("id", "owner", "kind", "begin", "end", "at")}
    return {**whole, **texts, "data": json_text(canonical(dict(item.data)))}


def _item(row: Any) -> MemoryItem:
    given = {name: value for name, value in row._mapping.items() if name != "data"}
    return MemoryItem(**cast(Any, given), data=json.loads(row.data))
