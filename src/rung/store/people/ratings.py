"""What people said of two rungs' answers to one example."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import plain

ratings = Table(
    "ratings",
    metadata,
    Column("run", Text, primary_key=True),
    Column("rater", Text, primary_key=True),
    Column("example", Text, primary_key=True),
    Column("one", Text, primary_key=True),
    Column("other", Text, primary_key=True),
    Column("left", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
)
"""``left`` is the rung that stood on the left, ``verdict`` what was pressed: left, right, tie or bad. ``seed`` is that
of the order."""


@dataclass(frozen=True, slots=True)
class StoredRating:
    """A verdict on two rungs' answers. ``one`` and ``other`` in the order of their names; ``verdict``: left, right,
    tie, bad."""

    run: str
    rater: str
    example: str
    one: str
    other: str
    left: str
    verdict: str
    note: str = ""
    seed: int = 0
    created: float = 0.0


class RatingTable:
    """Verdicts of people."""

    table = ratings

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, rating: StoredRating) -> None:
        """Store a verdict with the time; one that the rater gave on the same pair before is replaced."""
        values: dict[str, Any] = {
            name: plain(value) if isinstance(value, str) else value for name, value in asdict(rating).items()
        }
        statement = self._database.upsert(ratings, ("left", "verdict", "note", "seed", "created"))
        self._database.execute(statement.values(values | {"created": time.time()}))

    def of(self, run: str) -> list[StoredRating]:
        """The verdicts on a run (full id), oldest first."""
        query = sa.select(*ratings.columns).where(ratings.c.run == run)
        query = query.order_by(ratings.c.created, ratings.c.rater, ratings.c.example, ratings.c.one, ratings.c.other)
        return [StoredRating(**row._mapping) for row in self._database.rows(query)]
