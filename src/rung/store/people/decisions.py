"""What moderation decided about texts, what was appealed, and how a person ruled: one row a decision."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import plain

decisions = Table(
    "decisions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("appeal", Text, nullable=False),
    Column("appealed", Double),
    Column("ruling", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("ruled", Double),
    Index("decisions_person", "person"),
)
"""``policy`` is the hash of the policy in force, ``threshold`` that of the ``label`` then. ``appeal``: why somebody
objects."""


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """One decision: allowed, review or blocked, by which score against which threshold. ``ruling`` is what a person
    made of it (empty: nobody has ruled), ``by`` whom and ``why``."""

    id: str
    policy: str
    text: str
    label: str
    score: float
    threshold: float
    verdict: str
    person: str = ""
    created: float = 0.0
    appeal: str = ""
    appealed: float | None = None
    ruling: str = ""
    by: str = ""
    why: str = ""
    ruled: float | None = None

    @property
    def now(self) -> str:
        """What holds: a person's ruling, or else the verdict."""
        return self.ruling or self.verdict

    @property
    def waiting(self) -> bool:
        """A person is to look at it: it was left open, or somebody has appealed."""
        return not self.ruling and (self.verdict == "review" or bool(self.appeal))


class DecisionTable:
    """Decisions, in the order in which they were made."""

    table = decisions

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def add(self, row: StoredDecision) -> None:
        """Store a decision; one of the same id stays as it is."""
        values: dict[str, Any] = {k: plain(v) if isinstance(v, str) else v for k, v in asdict(row).items()}
        values["created"] = row.created or time.time()
        insert = self._database.insert(decisions).values(values).on_conflict_do_nothing()
        self._database.write(lambda link: link.execute(insert))

    def find(self, id: str) -> StoredDecision | None:
        """The decision of that id."""
        rows = self._database.rows(sa.select(*decisions.columns).where(decisions.c.id == plain(id)))
        return StoredDecision(**rows[0]._mapping) if rows else None

    def all(self, policy: str = "") -> list[StoredDecision]:
        """Decisions, oldest first, by one policy or all."""
        query = sa.select(*decisions.columns).order_by(decisions.c.created, decisions.c.id)
        if policy:
            query = query.where(decisions.c.policy == policy)
        return [StoredDecision(**row._mapping) for row in self._database.rows(query)]

    def appeal(self, id: str, why: str) -> bool:
        """Note an objection to a decision on which nobody has ruled; False: there is none."""
        return self._update(id, {"appeal": plain(why), "appealed": time.time()})

    def rule(self, id: str, ruling: str, by: str, why: str) -> bool:
        """Note how a person rules, once; False: there is no such decision, or somebody has ruled already."""
        return self._update(id, {"ruling": ruling, "by": plain(by), "why": plain(why), "ruled": time.time()})

    def _update(self, id: str, values: dict[str, Any]) -> bool:
        unruled = sa.and_(decisions.c.id == plain(id), decisions.c.ruling == "")
        statement = sa.update(decisions).where(unruled).values(values)
        return self._database.write(lambda link: link.execute(statement).rowcount) > 0
