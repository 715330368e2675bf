"""API keys that were issued: who they are of, what they may do. Only a hash of a key is kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, pick, plain

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("replaces", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Index("keys_tenant", "tenant"),
)
"""``hash`` is the SHA-256 of the whole key, ``scope`` JSON: models and limits."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that was issued. ``replaces`` is the key that it was made for instead, empty for none; times are Unix
    seconds."""

    id: str
    hash: str
    tenant: str
    role: str
    scope: str
    note: str
    replaces: str
    created: float
    expires: float | None
    revoked: float | None

    def valid(self, now: float) -> bool:
        """Whether it may be used at the time ``now``."""
        return (self.expires is None or now < self.expires) and (self.revoked is None or now < self.revoked)


class KeyTable:
    """Issued keys by id."""

    table = keys

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, key: StoredKey) -> None:
        """Keep a new key."""
        self._database.execute(_insert(key))

    def replace(self, key: StoredKey, end: float) -> bool:
        """Keep a key in the place of the one that it ``replaces``, which goes on until ``end``. False, and nothing is
        kept, where that one is not valid any more: somebody may revoke it at this moment."""
        valid = sa.or_(keys.c.revoked.is_(None), keys.c.revoked > key.created)
        old = sa.and_(keys.c.id == plain(key.replaces), valid)

        def work(link: sa.Connection) -> bool:
            ends = sa.update(keys).where(old).values(revoked=_earlier(end))
            if cast("sa.CursorResult[Any]", link.execute(ends)).rowcount == 0:
                return False
            link.execute(_insert(key))
            return True

        return self._database.write(work)

    def get(self, id: str) -> StoredKey | None:
        """The key of that id, revoked or not."""
        found = self._database.rows(sa.select(*keys.columns).where(keys.c.id == plain(id)))
        return StoredKey(**found[0]._mapping) if found else None

    def find(self, beginning: str) -> StoredKey | None:
        """The key whose id begins so. Raises InputError for several."""
        return pick([key for key in self.all() if key.id.startswith(beginning)], beginning, "keys")

    def all(self, tenant: str = "") -> list[StoredKey]:
        """Every key, of one tenant or all, newest first."""
        query = sa.select(*keys.columns).order_by(keys.c.created.desc(), keys.c.id)
        if tenant:
            query = query.where(keys.c.tenant == plain(tenant))
        return [StoredKey(**row._mapping) for row in self._database.rows(query)]

    def revoke(self, id: str, at: float | None = None) -> bool:
        """End a key, now or at the time ``at``; an earlier end stays. Whether there is such a key. One that ends now
        expires at no time at all: a clock that is set back does not bring it back."""
        ends: dict[str, Any] = {"revoked": _earlier(time.time() if at is None else at)}
        if at is None:
            ends["expires"] = 0.0
        return self._database.execute(sa.update(keys).where(keys.c.id == plain(id)).values(ends)) > 0


def _earlier(at: float) -> sa.Case[Any]:
    return sa.case((keys.c.revoked < at, keys.c.revoked), else_=at)


def _insert(key: StoredKey) -> sa.Insert:
    values = {name: getattr(key, name) for name in StoredKey.__slots__}
    values |= {"tenant": plain(key.tenant), "note": plain(key.note), "scope": json_text(key.scope)}
    return sa.insert(keys).values(values)
