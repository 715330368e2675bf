"""What callers spend of their limits, in windows of time, by all processes that serve them.

A process leases a slice of a limit and spends it in memory; the rows say what each process has used and what it still
holds. So the sum of both never exceeds the limit, whoever asks when. What a process held that has died is free again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Double, Table, Text

from rung.core.codec import canonical
from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.process import Process, died, this

spending = Table(
    "spending",
    metadata,
    Column("account", Text, primary_key=True),
    Column("window", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", Text, primary_key=True),
    Column("used", Double, nullable=False),
    Column("held", Double, nullable=False),
    Column("changed", Double, nullable=False),
)
"""``window`` is the time at which it began (Unix seconds; 0: it never ends), ``owner`` the process, as JSON."""


class SpendingTable:
    """The ledger of limits."""

    table = spending

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._owner = canonical(asdict(this()))
        insert = database.insert(spending)
        changed: dict[str, Any] = {name: spending.c[name] + insert.excluded[name] for name in ("used", "held")}
        self._adding = insert.on_conflict_do_update(
            index_elements=["account", "window", "owner"], set_=changed | {"changed": insert.excluded.changed}
        )

    def lease(self, account: str, window: int, limit: float, least: float, most: float) -> float:
        """Take between ``least`` and ``most`` of what is left of ``limit``; 0: there is less than ``least``."""
        c = spending.c
        place = sa.and_(c.account == account, c.window == window)

        def work(link: sa.Connection) -> float:
            self._database.exclude(link, f"{account}\0{window}")
            left = limit - float(
                link.execute(sa.select(sa.func.coalesce(sa.func.sum(c.used + c.held), 0.0)).where(place)).scalar_one()
            )
            if left < least:
                left += self._bury(link, place)
            taken = min(most, left) if left >= least else 0.0
            if taken > 0:
                self._add(link, account, window, 0.0, taken)
            return taken

        return self._database.write(work)

    def settle(self, changes: Sequence[tuple[str, int, float, float]]) -> None:
        """Note of each (account, window) how much more was used, and by how much what this process holds has
        changed."""

        def work(link: sa.Connection) -> None:
            for account, window, used, held in sorted(changes):
                self._add(link, account, window, used, held)

        if changes:
            self._database.write(work)

    def used(self, accounts: Sequence[str]) -> dict[tuple[str, int], float]:
        """What was used, by account and window."""
        c = spending.c
        query = sa.select(c.account, c.window, sa.func.sum(c.used)).where(c.account.in_(accounts))
        return {
            (row[0], int(row[1])): float(row[2]) for row in self._database.rows(query.group_by(c.account, c.window))
        }

    def tidy(self, before: float) -> int:
        """Delete windows that began before a time (those without end stay). How many rows."""
        c = spending.c
        return self._database.execute(sa.delete(spending).where(c.window > 0, c.window < before))

    def _add(self, link: sa.Connection, account: str, window: int, used: float, held: float) -> None:
        values: dict[str, Any] = {
            "account": account, "window": window, "owner": self._owner,
            "used": used, "held": held, "changed": time.time(),
        }  # fmt: skip
        link.execute(self._adding, values)

    def _bury(self, link: sa.Connection, place: sa.ColumnElement[bool]) -> float:
        """Free what dead processes hold. How much it was."""
        c = spending.c
        freed = 0.0
        for owner, held in link.execute(sa.select(c.owner, c.held).where(place, c.held > 0)).all():
            if owner != self._owner and died(Process(**json.loads(owner))):
                link.execute(sa.update(spending).where(place, c.owner == owner).values(held=0.0))
                freed += float(held)
        return freed
