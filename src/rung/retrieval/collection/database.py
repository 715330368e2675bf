"""The collection's only source of truth: one SQLite file with documents, passages and vectors.

Everything that makes search fast (matrix, keyword index, another vector index) is derived from it and follows its
*generation*: a number that every transaction raises by one. Rows of passages are numbered upwards and never used again, so
what a derived part lacks is: the rows above its highest, and the tombstones written since its generation.

Acknowledged writes use ``synchronous=FULL`` (the WAL is synced before COMMIT returns). While a build runs it is ``NORMAL``:
a killed process loses nothing, a power cut at most the last transactions, each of them whole; the end of the build syncs.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError, StoreError
from rung.core.types import Document, Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
BLOCK = 16384
"""Characters of a document's text in one row of ``texts``: a passage of a long document is read without the rest of it."""

_MANY = 500
_SURROGATE = re.compile("[\ud800-\udfff]")
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


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document ready to be written, with its passages and their vectors (shape (passages, dimensions); None: none)."""

    document: Document
    hash: bytes
    passages: tuple[Passage, ...]
    vectors: NDArray[np.float32] | None
    source: str = ""
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What is stored of a document, without its text. ``stamp`` is the source's size and time of change, as written then."""

    row: int
    id: str
    hash: bytes
    source: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: the rows of the new passages (in order) and of those that are gone."""

    generation: int
    added: tuple[int, ...]
    removed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A stored passage with its number."""

    row: int
    passage: Passage


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
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A snapshot: everything read over the connection during the block is of one generation."""
        with _errors(self.path):
            link = getattr(self._local, "link", None)
            if link is None or self._closed:
                link = self._local.link = self._connect()
            if link.in_transaction:  # a reading inside a reading: the same snapshot
                yield link
                return
            link.execute("BEGIN")
            try:
                yield link
            finally:
                if link.in_transaction:
                    link.execute("ROLLBACK")

    @contextmanager
    def writing(self, *, full: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or nothing. The caller holds the collection's lock."""
        with _errors(self.path):
            if self._writer is None:
                self._writer = self._connect()
            link = self._writer
            link.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            link.execute("BEGIN IMMEDIATE")
            try:
                yield link
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

    # ------------------------------------------------------------ meta

    def meta(self, link: sqlite3.Connection) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in link.execute("SELECT key, value FROM meta")}

    def set(self, link: sqlite3.Connection, key: str, value: Any) -> None:
        link.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, json.dumps(value)))

    def generation(self, link: sqlite3.Connection) -> int:
        return int(link.execute("SELECT value FROM meta WHERE key='generation'").fetchone()[0])

    def floor(self, link: sqlite3.Connection) -> int:
        """Tombstones older than this generation are gone: what is behind it must be read anew."""
        return int(link.execute("SELECT value FROM meta WHERE key='floor'").fetchone()[0])

    # ------------------------------------------------------------ documents

    def known(self, link: sqlite3.Connection, ids: Sequence[str]) -> dict[str, StoredDocument]:
        out = {}
        for part in _parts(ids):
            marks = ",".join("?" * len(part))
            for row in link.execute(
                f"SELECT row, id, hash, source, stamp FROM documents WHERE id IN ({marks})",  # noqa: S608
                part,
            ):
                out[row[1]] = StoredDocument(*row)
        return out

    def sources(self, link: sqlite3.Connection) -> list[StoredDocument]:
        """Every document that came from a file."""
        sql = "SELECT row, id, hash, source, stamp FROM documents WHERE source <> ''"
        return [StoredDocument(*row) for row in link.execute(sql)]

    def document(self, link: sqlite3.Connection, id: str) -> Document | None:
        found = link.execute("SELECT row, metadata FROM documents WHERE id=?", (id,)).fetchone()
        if found is None:
            return None
        return Document(id, self.text(link, found[0]), json.loads(found[1]))

    def text(self, link: sqlite3.Connection, row: int) -> str:
        """The text of the document of this row."""
        blocks = link.execute(
            "SELECT text FROM texts WHERE key BETWEEN ? AND ? ORDER BY key", (row << 20, (row << 20) + 0xFFFFF)
        )
        return "".join(text for (text,) in blocks)

    def count(self, link: sqlite3.Connection) -> tuple[int, int]:
        """Documents and passages."""
        documents = link.execute("SELECT COUNT(*) FROM documents").fetchone()[0]
        return documents, link.execute("SELECT COUNT(*) FROM passages").fetchone()[0]

    def stored(self, link: sqlite3.Connection) -> int:
        """Vectors, also those of deleted passages."""
        return int(link.execute("SELECT COALESCE(SUM(count), 0) FROM vectors").fetchone()[0])

    # ------------------------------------------------------------ passages

    def rows(self, link: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Passage]:
        """The passages of these rows; a row that is not there is left out."""
        return {
            row: passage
            for part in _parts(numbers)
            for row, passage in self._passages(link, "p.row", [int(n) for n in part])
        }

    def passages(self, link: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Passage]:
        return {passage.id: passage for part in _parts(ids) for _, passage in self._passages(link, "p.id", list(part))}

    def _passages(self, link: sqlite3.Connection, column: str, keys: list[Any]) -> list[tuple[int, Passage]]:
        found = link.execute(
            "SELECT p.row, p.id, p.start, p.stop, p.metadata, d.row, d.id, d.metadata"  # noqa: S608
            f" FROM passages p JOIN documents d ON d.row = p.document WHERE {column} IN ({','.join('?' * len(keys))})",
            keys,
        ).fetchall()
        needed = sorted(
            {
                (row[5] << 20) + block
                for row in found
                for block in range(row[2] // BLOCK, max(row[3] - 1, row[2]) // BLOCK + 1)
            }
        )
        texts: dict[int, str] = {}
        for part in _parts(needed):
            marks = ",".join("?" * len(part))
            texts.update(link.execute(f"SELECT key, text FROM texts WHERE key IN ({marks})", part))  # noqa: S608
        out = []
        for row, id, start, stop, own, document, name, shared in found:
            first, last = start // BLOCK, max(stop - 1, start) // BLOCK
            whole = "".join(texts.get((document << 20) + block, "") for block in range(first, last + 1))
            text = whole[start - first * BLOCK : stop - first * BLOCK]
            metadata = json.loads(shared)
            if own:
                metadata = _merged(metadata, own)
            out.append((row, Passage(id, name, start, stop, text, metadata)))
        return out

    def last(self, link: sqlite3.Connection) -> int:
        """The highest row that any passage ever had."""
        found = link.execute("SELECT seq FROM sqlite_sequence WHERE name='passages'").fetchone()
        return int(found[0]) if found else 0

    def numbers(self, link: sqlite3.Connection, above: int) -> list[int]:
        """The rows of passages above ``above``, in order."""
        return [row for (row,) in link.execute("SELECT row FROM passages WHERE row > ? ORDER BY row", (above,))]

    def names(self, link: sqlite3.Connection, rows: Sequence[int]) -> dict[int, str]:
        """Ids of passages by row."""
        out: dict[int, str] = {}
        for part in _parts(rows):
            marks = ",".join("?" * len(part))
            out.update(link.execute(f"SELECT row, id FROM passages WHERE row IN ({marks})", part))  # noqa: S608
        return out

    def of_document(self, link: sqlite3.Connection, document: int) -> list[tuple[int, int, int]]:
        """Row, start and end of a document's passages."""
        sql = "SELECT row, start, stop FROM passages WHERE document=? ORDER BY row"
        return list(link.execute(sql, (document,)))

    def after(self, link: sqlite3.Connection, row: int) -> Iterator[list[tuple[int, str]]]:
        """Row and text of every passage above ``row``, in order, in batches of whole documents."""
        batch: list[tuple[int, str]] = []
        text, owner = "", -1
        sql = "SELECT row, document, start, stop FROM passages WHERE row > ? ORDER BY row"
        for number, document, start, stop in link.execute(sql, (row,)).fetchall():
            if document != owner:
                if len(batch) >= 4096:
                    yield batch
                    batch = []
                text, owner = self.text(link, document), document
            batch.append((number, text[start:stop]))
        if batch:
            yield batch

    def metadata(self, link: sqlite3.Connection, row: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Row and metadata (the document's and its own) of every passage above ``row``, in order."""
        sql = (
            "SELECT p.row, p.metadata, d.metadata, d.row FROM passages p JOIN documents d ON d.row = p.document"
            " WHERE p.row > ? ORDER BY p.row"
        )
        owner = -1
        shared: dict[str, Any] = {}
        for number, own, text, document in link.execute(sql, (row,)):
            if document != owner:
                owner, shared = document, json.loads(text)
            yield number, _merged(shared, own) if own else shared

    def buried(self, link: sqlite3.Connection, generation: int) -> list[int]:
        """Rows deleted after that generation."""
        sql = "SELECT row FROM tombstones WHERE generation > ? ORDER BY row"
        return [row for (row,) in link.execute(sql, (generation,))]

    def vectors(self, link: sqlite3.Connection, above: int, dimensions: int) -> Iterator[tuple[Any, Any]]:
        """Rows and vectors of the stored blocks with rows above ``above``, also of passages that are deleted by now.

        Raises StoreError when a block is not what was written.
        """
        import numpy as np

        sql = "SELECT rows, data, sum FROM vectors WHERE first > ? ORDER BY first"
        for numbers, data, total in link.execute(sql, (above,)):
            if zlib.crc32(data, zlib.crc32(numbers)) != total:
                raise StoreError(
                    f"vectors in {self.path} are damaged (checksum)",
                    remedy="build the collection again: rung index drop NAME, then rung index build DOCS --to NAME",
                )
            rows = np.frombuffer(numbers, np.int64)
            block = np.frombuffer(data, np.float32).reshape(len(rows), dimensions)
            yield rows, block

    # ------------------------------------------------------------ writes

    def write(self, link: sqlite3.Connection, entries: Sequence[NewDocument], deleted: Sequence[int] = ()) -> Written:
        """Write documents with their passages, and remove the documents of the rows ``deleted``, in the open transaction.

        Raises InputError for a document or passage id that is there already.
        """
        import numpy as np

        generation = self.generation(link) + 1
        removed: list[int] = []
        for gone in deleted:
            rows = [row for (row,) in link.execute("SELECT row FROM passages WHERE document=?", (gone,))]
            removed += rows
            link.execute("DELETE FROM passages WHERE document=?", (gone,))
            link.execute("DELETE FROM texts WHERE key BETWEEN ? AND ?", (gone << 20, (gone << 20) + 0xFFFFF))
            link.execute("DELETE FROM documents WHERE row=?", (gone,))
        if removed:
            link.executemany("INSERT INTO tombstones VALUES (?,?)", [(row, generation) for row in removed])
            # A block of one row is the row's own; larger ones keep their dead rows until compact().
            link.executemany("DELETE FROM vectors WHERE first=? AND count=1", [(row,) for row in removed])
        row = self.last(link)
        number = link.execute("SELECT seq FROM sqlite_sequence WHERE name='documents'").fetchone()
        owner = int(number[0]) if number else 0
        documents: list[tuple[Any, ...]] = []
        texts: list[tuple[int, str]] = []
        passages: list[tuple[Any, ...]] = []
        added: list[int] = []
        for entry in entries:
            owner += 1
            document = entry.document
            shared = _json(document.metadata)
            text = document.text
            documents.append((owner, document.id, entry.hash, entry.source, entry.stamp, shared, len(text)))
            texts += [
                ((owner << 20) + block // BLOCK, text[block : block + BLOCK]) for block in range(0, len(text), BLOCK)
            ]
            base = document.metadata
            for passage in entry.passages:
                row += 1
                added.append(row)
                own = None
                if passage.metadata is not base:
                    extra = {k: v for k, v in passage.metadata.items() if k not in base or base[k] != v}
                    extra |= {k: None for k in base if k not in passage.metadata}
                    own = _json(extra) if extra else None
                passages.append((row, owner, passage.id, passage.start, passage.end, own))
        try:
            link.executemany("INSERT INTO documents VALUES (?,?,?,?,?,?,?)", documents)
            link.executemany("INSERT INTO texts VALUES (?,?)", texts)
            link.executemany("INSERT INTO passages VALUES (?,?,?,?,?,?)", passages)
        except sqlite3.IntegrityError:
            self._clash(link, entries)
            raise
        matrices = [entry.vectors for entry in entries if entry.vectors is not None]
        if added and matrices:
            numbers = np.asarray(added, np.int64).tobytes()
            data = _raw(matrices[0] if len(matrices) == 1 else np.concatenate(matrices))
            total = zlib.crc32(data, zlib.crc32(numbers))
            link.execute("INSERT INTO vectors VALUES (?,?,?,?,?)", (added[0], len(added), numbers, data, total))
        link.execute("UPDATE meta SET value=? WHERE key='generation'", (str(generation),))
        return Written(generation, tuple(added), tuple(removed))

    def _clash(self, link: sqlite3.Connection, entries: Sequence[NewDocument]) -> None:
        ids: set[str] = set()
        for entry in entries:
            for passage in entry.passages:
                there = link.execute("SELECT 1 FROM passages WHERE id=?", (passage.id,)).fetchone()
                if there or passage.id in ids:
                    raise InputError(
                        f"passage id {passage.id!r} (document {entry.document.id!r}) is taken by another passage",
                        remedy="give documents ids that differ",
                    ) from None
                ids.add(passage.id)

    def touch(self, link: sqlite3.Connection, stamps: Sequence[tuple[str, str, int]]) -> None:
        """Note the source and stamp of documents (by row) whose content is as it was."""
        link.executemany("UPDATE documents SET source=?, stamp=? WHERE row=?", stamps)

    def rewrite(self, link: sqlite3.Connection, dimensions: int) -> int:
        """Merge the blocks of vectors without their dead rows, and forget the tombstones. Gives the new generation."""
        import numpy as np

        alive = np.fromiter((row for (row,) in link.execute("SELECT row FROM passages ORDER BY row")), np.int64)
        blocks: list[tuple[Any, Any]] = []
        fresh: list[tuple[Any, ...]] = []

        def pack() -> None:
            if blocks:
                rows = np.concatenate([rows for rows, _ in blocks])
                data = _raw(np.concatenate([data for _, data in blocks]))
                raw = rows.tobytes()
                total = zlib.crc32(data, zlib.crc32(raw))
                fresh.append((int(rows[0]), len(rows), raw, data, total))
                blocks.clear()

        link.execute("CREATE TEMP TABLE IF NOT EXISTS packed AS SELECT * FROM vectors WHERE 0")
        link.execute("DELETE FROM temp.packed")
        held = 0
        for rows, data in self.vectors(link, -1, dimensions) if dimensions else ():
            keep = np.isin(rows, alive, assume_unique=True)
            blocks.append((rows[keep], data[keep])) if keep.any() else None
            held += int(keep.sum())
            if held >= 4096:
                pack()
                link.executemany("INSERT INTO temp.packed VALUES (?,?,?,?,?)", fresh)
                fresh.clear()
                held = 0
        pack()
        link.executemany("INSERT INTO temp.packed VALUES (?,?,?,?,?)", fresh)
        link.execute("DELETE FROM vectors")
        link.execute("INSERT INTO vectors SELECT * FROM temp.packed")
        link.execute("DELETE FROM temp.packed")
        link.execute("DELETE FROM tombstones")
        generation = self.generation(link) + 1
        link.execute("UPDATE meta SET value=? WHERE key='generation'", (str(generation),))
        link.execute("UPDATE meta SET value=? WHERE key='floor'", (str(generation),))
        return generation

    def vacuum(self) -> None:
        with _errors(self.path):
            if self._writer is not None:
                self._writer.execute("VACUUM")
        self.sync()

    def check(self, link: sqlite3.Connection) -> list[str]:
        """SQLite's own check of its pages and indexes; what is wrong, in words."""
        found = [row[0] for row in link.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    def each(self, link: sqlite3.Connection) -> Iterator[tuple[Document, bytes, list[tuple[int, int, int]]]]:
        """Every document with its hash and its passages (row, start, end)."""
        for row, id, hash, metadata in link.execute("SELECT row, id, hash, metadata FROM documents").fetchall():
            yield Document(id, self.text(link, row), json.loads(metadata)), hash, self.of_document(link, row)


def clean(text: str) -> str:
    """The text without lone surrogates, which no file can hold; as long as before, so that spans stay right."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _raw(vectors: NDArray[np.float32]) -> memoryview:
    """The bytes of vectors, without a copy where they lie in one piece."""
    import numpy as np

    return np.ascontiguousarray(vectors, np.float32).reshape(-1).data.cast("B")


def _merged(shared: Mapping[str, Any], own: str) -> dict[str, Any]:
    """A passage's metadata: its document's with its own differences (null: the passage lacks that field)."""
    return {key: value for key, value in {**shared, **json.loads(own)}.items() if value is not None}


def _json(metadata: Mapping[str, Any]) -> str:
    if not metadata:
        return "{}"
    try:
        return clean(json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError):
        raise InputError(
            f"metadata {dict(metadata)!r} cannot be stored: values are strings, finite numbers, booleans or lists of strings"
        ) from None


def _parts(keys: Iterable[Any]) -> Iterator[list[Any]]:
    items = list(keys)
    for start in range(0, len(items), _MANY):
        yield items[start : start + _MANY]


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """SQLite's errors as StoreErrors that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        code = getattr(error, "sqlite_errorname", "") or ""
        if "full" in text or code.startswith("SQLITE_IOERR_WRITE") or code == "SQLITE_FULL":
            raise StoreError(
                f"no room to write {path} ({text}); nothing of this step was kept, what was there before is whole",
                remedy="free some space and run the same again",
            ) from error
        if "malformed" in text or "not a database" in text or code in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise StoreError(
                f"{path} is damaged ({text})",
                remedy="restore it from a backup, or remove the folder and build again: rung index build DOCS --to NAME",
            ) from error
        if "locked" in text or code == "SQLITE_BUSY":
            raise StoreError(f"{path} is held by another program ({text})", remedy="end it, or try again") from error
        raise StoreError(f"{path}: {text}", remedy="see: rung index verify NAME") from error
