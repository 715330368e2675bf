"""Who allowed what to be used, and which rules were waived for it: rows that follow from one another, so that none can
be changed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Column, Double, Table, Text

from rung.core.codec import digest
from rung.core.errors import StoreError
from rung.store.engine.database import StoreDatabase, metadata, serial
from rung.store.engine.values import plain

approvals = Table(
    "approvals",
    metadata,
    Column("id", serial, primary_key=True),
    Column("artifact", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("gate", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("until", Double),
    Column("created", Double, nullable=False),
    Column("chain", Text, nullable=False),
)
"""``artifact`` is a content hash; ``verdict`` approve, waive (the ``gate``, ``until`` then) or revoke. ``chain`` is the
digest of the row and of the chain before it."""


@dataclass(frozen=True, slots=True)
class StoredApproval:
    """What one person said about an artifact."""

    artifact: str
    verdict: str
    person: str
    reason: str = ""
    gate: str = ""
    until: float | None = None
    created: float = 0.0
    chain: str = ""

    def follow(self, before: str) -> str:
        """The chain behind this row."""
        said = {name: value for name, value in asdict(self).items() if name != "chain"}
        return digest([before, said])


class ApprovalTable:
    """The ledger. Rows are added, never changed."""

    table = approvals

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def add(self, row: StoredApproval) -> StoredApproval:
        """Write a row behind the last one, with the time. Returned as it stands."""
        row = replace(
            row, artifact=plain(row.artifact), person=plain(row.person), reason=plain(row.reason), gate=plain(row.gate)
        )

        def append(link: sa.Connection) -> StoredApproval:
            self._database.exclude(link, "approvals")
            last = sa.select(approvals.c.chain).order_by(approvals.c.id.desc()).limit(1)
            made = replace(row, created=time.time())
            made = replace(made, chain=made.follow(link.execute(last).scalar_one_or_none() or ""))
            link.execute(sa.insert(approvals).values(asdict(made)))
            return made

        return self._database.write(append)

    def all(self, artifact: str = "") -> list[StoredApproval]:
        """Rows of one artifact, or all, oldest first. Raises StoreError when a row was changed, taken out or put in."""
        columns = [column for column in approvals.columns if column.name != "id"]
        found = [
            StoredApproval(**row._mapping) for row in self._database.rows(sa.select(*columns).order_by(approvals.c.id))
        ]
        before = ""
        for number, row in enumerate(found, 1):
            if row.chain != row.follow(before):
                raise StoreError(
                    f"row {number} of the approvals is not the one that was written: the ledger was changed",
                    remedy="restore the store from a backup; nothing that it approves can be relied on",
                    code="ledger",
                )
            before = row.chain
        return [row for row in found if not artifact or row.artifact == artifact]
