"""The collection's only source of truth: one SQLite file with documents, passages and vectors.

Everything that makes search fast (matrix, keyword index, another vector index) is derived from it and follows its
*generation*: a number that every transaction raises by one. Rows of passages are numbered upwards and never used
again, so what a derived part lacks is: the rows above its highest, and the tombstones written since its generation.

Acknowledged writes use ``synchronous=FULL`` (the WAL is synced before COMMIT returns). While a build runs it is
``NORMAL``: a killed process loses nothing, a power cut at most the last transactions, each of them whole; the end of
the build syncs.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rung.core.errors import InputError, StoreError
from rung.retrieval.collection.database.snapshot import Snapshot
from rung.retrieval.collection.database.transaction import Transaction

FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, hash BLOB NOT NULL, source TEXT NOT NULL,
    stamp TEXT NOT NULL, metadata TEXT NOT NULL, length INTEGER NOT NULL);
CREATE INDEX documents_source ON documents (source) WHERE source <> '';
CREATE TABLE texts (key INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    start INTEGER NOT NULL, stop INTEGER NOT NULL, metadata TEXT);
CREATE INDEX passages_document ON passages (document);
CREATE TABLE vectors (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, rows BLOB NOT NULL, data BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE tombstones (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tombstones_generation ON tombstones (generation);
"""


class Database:
    """Reads are snapshots (``reading``), each thread over its own connection; writes go one at a time over one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._closed = False

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, Any]) -> Database:
        """Make the file. Raises StoreError when it cannot be made."""
        database = cls(path)
        with _errors(path):
            link = sqlite3.connect(path, isolation_level=None)
            try:
                # 8 KB pages hold seven 256-d vectors in 12% less space than 4 KB ones.
                link.execute("PRAGMA page_size=8192")
                link.execute("PRAGMA journal_mode=WAL")
                link.execute("PRAGMA synchronous=FULL")
                link.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    link.execute(statement)
                rows = {"format": FORMAT, "generation": 0, "floor": 0, **meta}
                link.executemany("INSERT INTO meta VALUES (?,?)", [(k, json.dumps(v)) for k, v in rows.items()])
                link.execute("COMMIT")
            finally:
                link.close()
        return database

    @classmethod
    def place(cls, path: Path, meta: Mapping[str, Any]) -> None:
        """Make the file where none is, in one step. Raises InputError when there is one, StoreError when it cannot be
        made."""
        if path.exists():
            raise InputError(
                f"there is a collection in {path.parent} already",
                remedy="open it (Collection.open), or remove it first: rung index drop NAME",
            )
        temporary = path.with_name("collection.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            cls.create(temporary, meta).close()
            os.replace(temporary, path)
        except OSError as error:
            raise StoreError(
                f"cannot make {path}: {error.strerror}", remedy="name a folder you may write to"
            ) from error

    def described(self) -> dict[str, Any]:
        """What the collection was made with. Raises InputError when there is none, StoreError when it is damaged or
        newer than this program."""
        if not self.path.is_file():
            raise InputError(
                f"there is no collection in {self.path.parent}", remedy="make one: rung index build DOCS... --to NAME"
            )
        with self.reading() as snapshot:
            meta = snapshot.meta()
        if meta.get("format") != FORMAT or "chunker" not in meta:
            raise StoreError(
                f"{self.path} has format {meta.get('format')}, this program reads format {FORMAT}",
                remedy="update rung (pip install -U rung), or build the collection again",
            )
        return meta

    # ------------------------------------------------------------ connections

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(
                f"the collection {self.path.parent} is closed", remedy="open it again: Collection.open(...)"
            )
        if not self.path.is_file():
            raise StoreError(f"{self.path} is gone", remedy="build it again: rung index build DOCS --to NAME")
        link = sqlite3.connect(self.path, isolation_level=None, timeout=10.0, check_same_thread=False)
        link.execute("PRAGMA mmap_size=268435456")
        link.execute("PRAGMA cache_size=-8000")
        with self._guard:
            self._open.append(link)
        return link

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """A snapshot: everything read over the connection during the block is of one generation."""
        with _errors(self.path):
            link = getattr(self._local, "link", None)
            if link is None or self._closed:
                link = self._local.link = self._connect()
            if link.in_transaction:  # a reading inside a reading: the same snapshot
                yield Snapshot(link, self.path)
                return
            link.execute("BEGIN")
            try:
                yield Snapshot(link, self.path)
            finally:
                if link.in_transaction:
                    link.execute("ROLLBACK")

    @contextmanager
    def writing(self, *, full: bool = True) -> Iterator[Transaction]:
        """A transaction: all of the block or nothing. The caller holds the collection's lock."""
        with _errors(self.path):
            if self._writer is None:
                self._writer = self._connect()
            link = self._writer
            link.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            link.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(link, self.path)
                link.execute("COMMIT")
            except BaseException:
                if link.in_transaction:
                    link.execute("ROLLBACK")
                raise

    def sync(self) -> None:
        """Put what NORMAL transactions wrote on the disk for good, and empty the WAL where no reader holds it."""
        with _errors(self.path):
            if self._writer is not None:
                self._writer.execute("PRAGMA synchronous=FULL")
                busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    self.settle()

    def settle(self) -> None:
        """Put on the disk whatever was committed, by whomever. Raises OSError."""
        for path in (self.path.with_name(self.path.name + "-wal"), self.path):
            if path.exists():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())

    def close(self) -> None:
        self._closed = True
        with self._guard:
            links, self._open = self._open, []
        for link in links:
            link.close()
        self._writer = None
        self._local = threading.local()

    def vacuum(self) -> None:
        with _errors(self.path):
            if self._writer is not None:
                self._writer.execute("VACUUM")
        self.sync()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """SQLite's errors as StoreErrors that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = str(getattr(error, "sqlite_errorname", ""))
        if code == "SQLITE_FULL" or code.startswith("SQLITE_IOERR_WRITE"):
            raise StoreError(
                f"there is no room to write {path} ({error}); nothing of this step was kept, what was there before is whole",
                remedy="free some space and run the same again",
            ) from error
        if code in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise StoreError(
                f"{path} is damaged ({error})",
                remedy="restore it from a backup, or remove the folder and build again: rung index build DOCS --to NAME",
            ) from error
        if code in ("SQLITE_BUSY", "SQLITE_LOCKED"):
            raise StoreError(f"{path} is held by another program ({error})", remedy="end it, or try again") from error
        raise StoreError(f"{path}: {error}", remedy="see: rung index verify NAME") from error
