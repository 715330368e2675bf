"""What GraphQL reads of a store: rows with the columns that were asked for, and no others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rung.store import Store
from rung.store.people.served import served
from rung.store.tables.runs import rungs, runs
from rung.store.trail.tables import episodes, events


def _read(
    store: Store, table: sa.Table, wanted: Collection[str], query: tuple[Sequence[sa.ColumnElement[bool]], Any, int]
) -> list[Mapping[str, Any]]:
    """Rows of ``table``: the columns among ``wanted`` (and its key); ``query``: conditions, order, how many."""
    where, order, limit = query
    keys = {column.name for column in table.primary_key}
    columns = [column for column in table.columns if column.name in keys or column.name in wanted]
    statement = sa.select(*columns).where(*where).order_by(order).limit(limit)
    return [row._mapping for row in store.database.rows(statement)]


def read_runs(store: Store, wanted: Collection[str], limit: int, id: str = "") -> list[Mapping[str, Any]]:
    """Runs, newest first."""
    where = [runs.c.id == id] if id else []
    return _read(store, runs, wanted, (where, runs.c.started.desc(), limit))


def read_rungs(store: Store, run: str, wanted: Collection[str], limit: int) -> list[Mapping[str, Any]]:
    """The rungs of a run, in order."""
    return _read(store, rungs, wanted, ([rungs.c.run == run], rungs.c.position, limit))


def read_episodes(store: Store, wanted: Collection[str], limit: int, id: str = "") -> list[Mapping[str, Any]]:
    """Episodes of agents, newest first."""
    where = [episodes.c.id == id] if id else []
    return _read(store, episodes, wanted, (where, episodes.c.started.desc(), limit))


def read_events(store: Store, episode: str, wanted: Collection[str], limit: int) -> list[Mapping[str, Any]]:
    """What an episode did, in order. Large payloads lie elsewhere: theirs is empty here (rung trace show has them)."""
    return _read(store, events, wanted, ([events.c.episode == episode], events.c.seq, limit))


def read_served(store: Store, wanted: Collection[str], limit: int, model: str = "") -> list[Mapping[str, Any]]:
    """Recorded requests, newest first."""
    where = [served.c.model == model] if model else []
    return _read(store, served, wanted, (where, served.c.created.desc(), limit))
