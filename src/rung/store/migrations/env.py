"""Run by Alembic, with the caller's connection: the caller holds the lock and commits."""

from __future__ import annotations

from alembic import context

from rung.store.engine.database import metadata
from rung.store.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
