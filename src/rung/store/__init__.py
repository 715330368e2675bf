"""What rung remembers: answers, fits, runs. SQLite by default, Postgres by URL, one schema and one contract for both.

``engine/`` is the database under every table; ``tables/``, ``people/`` and ``gateway/`` hold one file a table, or a few
that belong together: the SQLAlchemy table on ``metadata``, the frozen records that callers see, and a class with its
statements. To add a table:

1. Write ``tables/NOUN.py`` like ``looks.py`` (rows written one at a time, durable on return), ``answers.py`` (rows of
   many concurrent callers that share a commit: ``database.journal.channel(name, write)`` and
   ``await channel.record(rows)``) or ``served.py`` (rows that nobody waits for: ``channel.note(row)``). Where
   ``tables/`` is full (eight files), rows of one room have a sub-room of their own beside it, as ``people/``. Text from
   outside goes through ``values.plain``, JSON through ``values.json_text``.
2. Add ``migrations/versions/NNNN_what.py`` with the next four digits (``revision`` and ``down_revision`` are digits).
3. Add the attribute to ``Store.__init__`` and the records to ``__all__`` here; ``import rung.store`` must know every
   table.
4. Name in ``gc.py`` what is to be forgotten with its run.

A table touches the database in ``read(work)``, ``write(work)``, ``rows(query)`` and ``execute(statement)`` alone: one
transaction each, tried again while another process holds the lock, and failing as a StoreError that says what to type.
So ``work`` may run more than once. Tests run over both databases with the fixture ``store`` of ``tests/store``.
"""

from __future__ import annotations

from rung.store.gateway.batches import StoredBatch, StoredFile
from rung.store.gateway.keys import StoredKey
from rung.store.gateway.results import StoredResult
from rung.store.gateway.subjects import Forgotten
from rung.store.gc import Removed
from rung.store.people.abtests import ArmTally, StoredABTest, StoredOutcome
from rung.store.people.approvals import StoredApproval
from rung.store.people.decisions import StoredDecision
from rung.store.people.ratings import StoredRating
from rung.store.people.served import StoredServed
from rung.store.people.signals import StoredSignal
from rung.store.store import Store, open_store
from rung.store.tables.answers import Entry
from rung.store.tables.looks import StoredLook
from rung.store.tables.prompts import StoredPrompt
from rung.store.tables.runs import Run, Status, StoredRung
from rung.store.tables.studies import StoredStudy
from rung.store.trail.trail import Durability, EpisodeTable, StoredEpisode

__all__ = [
    "ArmTally",
    "Durability",
    "Entry",
    "EpisodeTable",
    "Forgotten",
    "Removed",
    "Run",
    "Status",
    "Store",
    "StoredABTest",
    "StoredApproval",
    "StoredBatch",
    "StoredDecision",
    "StoredEpisode",
    "StoredFile",
    "StoredKey",
    "StoredLook",
    "StoredOutcome",
    "StoredPrompt",
    "StoredRating",
    "StoredResult",
    "StoredRung",
    "StoredServed",
    "StoredSignal",
    "StoredStudy",
    "open_store",
]
