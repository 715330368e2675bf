"""Uploaded files, and batches of requests made from them."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, LargeBinary, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Index("batches_status", "status"),
)
"""``payload`` is the batch as the protocol shows it (JSON), ``owner`` the process that works on it (JSON, empty:
none)."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file without its content."""

    id: str
    tenant: str
    name: str
    purpose: str
    size: int
    created: float


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch; ``payload`` is JSON text."""

    id: str
    tenant: str
    status: str
    payload: str
    owner: str
    created: float
    changed: float


class FileTable:
    """Uploaded files by id; a tenant sees its own."""

    table = files

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, file: StoredFile, content: bytes) -> None:
        """Keep a file; what is there under its id is replaced."""
        values = {
            "id": file.id,
            "tenant": plain(file.tenant),
            "name": plain(file.name),
            "purpose": plain(file.purpose),
            "content": content,
            "created": file.created,
        }
        self._database.execute(self._database.upsert(files, ("content", "created")).values(values))

    def get(self, id: str, tenant: str) -> StoredFile | None:
        """A file of that tenant."""
        return next((file for file in self.all(tenant) if file.id == id), None)

    def content(self, id: str) -> bytes:
        """What a file holds; empty where there is none."""
        found = self._database.rows(sa.select(files.c.content).where(files.c.id == plain(id)))
        return bytes(found[0].content) if found else b""

    def all(self, tenant: str) -> list[StoredFile]:
        """A tenant's files, newest first."""
        c = files.c
        columns = (c.id, c.tenant, c.name, c.purpose, sa.func.length(c.content).label("size"), c.created)
        query = sa.select(*columns).where(c.tenant == plain(tenant)).order_by(c.created.desc(), c.id)
        return [StoredFile(**row._mapping) for row in self._database.rows(query)]

    def delete(self, id: str, tenant: str) -> bool:
        """Whether there was one."""
        return (
            self._database.execute(sa.delete(files).where(files.c.id == plain(id), files.c.tenant == plain(tenant))) > 0
        )


class BatchTable:
    """Batches by id."""

    table = batches

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, batch: StoredBatch) -> None:
        """Keep a new batch."""
        values = {name: getattr(batch, name) for name in StoredBatch.__slots__}
        values |= {"tenant": plain(batch.tenant), "payload": json_text(batch.payload), "changed": time.time()}
        self._database.execute(sa.insert(batches).values(values))

    def change(self, batch: StoredBatch, before: Collection[str]) -> bool:
        """Keep a batch's new status and payload, where its status is one of ``before``; False: it is not (its caller
        has ended it meanwhile, or it is over), and nothing is changed."""
        place = sa.and_(batches.c.id == batch.id, batches.c.status.in_(before))
        values = {"status": batch.status, "payload": json_text(batch.payload), "changed": time.time()}
        return self._database.execute(sa.update(batches).where(place).values(values)) > 0

    def get(self, id: str, tenant: str | None = None) -> StoredBatch | None:
        """The batch of that id, where it is the tenant's (None: whoever's)."""
        query = sa.select(*batches.columns).where(batches.c.id == plain(id))
        if tenant is not None:
            query = query.where(batches.c.tenant == plain(tenant))
        found = self._database.rows(query)
        return StoredBatch(**found[0]._mapping) if found else None

    def all(self, tenant: str | None = None, status: str = "") -> list[StoredBatch]:
        """Batches, newest first."""
        query = sa.select(*batches.columns).order_by(batches.c.created.desc(), batches.c.id)
        if tenant is not None:
            query = query.where(batches.c.tenant == plain(tenant))
        if status:
            query = query.where(batches.c.status == status)
        return [StoredBatch(**row._mapping) for row in self._database.rows(query)]

    def claim(self, batch: StoredBatch, owner: str) -> bool:
        """Take a batch over from the owner that it has (``owner`` empty: leave it to whoever comes); False: another
        process was quicker."""
        place = sa.and_(batches.c.id == batch.id, batches.c.owner == batch.owner, batches.c.status == batch.status)
        return self._database.execute(sa.update(batches).where(place).values(owner=owner, changed=time.time())) > 0
