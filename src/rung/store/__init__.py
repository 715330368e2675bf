"""What rung remembers: answers, fits, runs. SQLite by default, Postgres by URL, one schema and one contract for both."""

from __future__ import annotations

from rung.store.journal import Entry
from rung.store.store import (
    ArmTally,
    Run,
    Status,
    Store,
    StoredABTest,
    StoredLook,
    StoredOutcome,
    StoredPrompt,
    StoredRating,
    StoredRung,
    StoredServed,
    Sweep,
    open_store,
)

__all__ = [
    "ArmTally",
    "Entry",
    "Run",
    "Status",
    "Store",
    "StoredABTest",
    "StoredLook",
    "StoredOutcome",
    "StoredPrompt",
    "StoredRating",
    "StoredRung",
    "StoredServed",
    "Sweep",
    "open_store",
]
