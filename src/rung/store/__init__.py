"""What rung remembers: answers, fits, runs. SQLite by default, Postgres by URL, one schema and one contract for both."""

from __future__ import annotations

from rung.store.journal import Entry
from rung.store.store import (
    Run,
    Status,
    Store,
    StoredLook,
    StoredOutcome,
    StoredPrompt,
    StoredRating,
    StoredRung,
    StoredServed,
    StoredSplit,
    Swept,
    Tally,
    open_store,
)

__all__ = [
    "Entry",
    "Run",
    "Status",
    "Store",
    "StoredLook",
    "StoredOutcome",
    "StoredPrompt",
    "StoredRating",
    "StoredRung",
    "StoredServed",
    "StoredSplit",
    "Swept",
    "Tally",
    "open_store",
]
