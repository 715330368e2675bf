"""What a collection's database holds at one generation."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any, TypeVar

from rung.core.errors import StoreError
from rung.core.types import Document, Passage

BLOCK = 16384
"""Characters of a document's text in one row of ``texts``: a passage of a long document is read without the rest of
it."""

_MANY = 500
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What is stored of a document, without its text. ``stamp`` is the source's size and time of change, as written
    then."""

    row: int
    id: str
    hash: bytes
    source: str
    stamp: str


F = TypeVar("F", bound=Callable[..., Any])


def _checked(method: F) -> F:
    """The method, with values of other kinds than were written told as damage (SQLite keeps whatever it is given)."""

    @wraps(method)
    def run(self: Snapshot, *given: Any) -> Any:
        try:
            return method(self, *given)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise self.damaged(str(error)) from error

    @wraps(method)
    def walk(self: Snapshot, *given: Any) -> Iterator[Any]:
        try:
            yield from method(self, *given)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise self.damaged(str(error)) from error

    return walk if isgeneratorfunction(method) else run  # type: ignore[return-value]


class Snapshot:
    """What the database holds, of one generation."""

    def __init__(self, link: sqlite3.Connection, path: Path) -> None:
        self._link, self._path = link, path

    def damaged(self, what: str) -> StoreError:
        return StoreError(
            f"{self._path} is damaged ({what[:200]})",
            remedy="restore it from a backup, or build the collection again: rung index drop NAME, then rung index build DOCS --to NAME",
        )

    @_checked
    def meta(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._link.execute("SELECT key, value FROM meta")}

    @property
    @_checked
    def generation(self) -> int:
        return int(self._link.execute("SELECT value FROM meta WHERE key='generation'").fetchone()[0])

    @property
    @_checked
    def floor(self) -> int:
        """Tombstones older than this generation are gone: what is behind it must be read anew."""
        return int(self._link.execute("SELECT value FROM meta WHERE key='floor'").fetchone()[0])

    # ------------------------------------------------------------ documents

    @_checked
    def known(self, ids: Sequence[str]) -> dict[str, StoredDocument]:
        sql = "SELECT row, id, hash, source, stamp FROM documents WHERE id IN (?)"
        return {row[1]: StoredDocument(*row) for row in self._among(sql, ids)}

    @_checked
    def sources(self) -> list[StoredDocument]:
        """Every document that came from a file."""
        sql = "SELECT row, id, hash, source, stamp FROM documents WHERE source <> ''"
        return [StoredDocument(*row) for row in self._link.execute(sql)]

    @_checked
    def document(self, id: str) -> Document | None:
        found = self._link.execute("SELECT row, metadata FROM documents WHERE id=?", (id,)).fetchone()
        if found is None:
            return None
        return Document(id, self.text(found[0]), json.loads(found[1]))

    @_checked
    def text(self, row: int) -> str:
        """The text of the document of this row."""
        blocks = self._link.execute(
            "SELECT text FROM texts WHERE key BETWEEN ? AND ? ORDER BY key", (row << 20, (row << 20) + 0xFFFFF)
        )
        return "".join(text for (text,) in blocks)

    def count(self) -> tuple[int, int]:
        """Documents and passages."""
        documents = self._link.execute("SELECT COUNT(*) FROM documents").fetchone()[0]
        return documents, self._link.execute("SELECT COUNT(*) FROM passages").fetchone()[0]

    @_checked
    def stored(self) -> int:
        """Vectors, also those of deleted passages."""
        return int(self._link.execute("SELECT COALESCE(SUM(count), 0) FROM vectors").fetchone()[0])

    # ------------------------------------------------------------ passages

    def rows(self, numbers: Sequence[int]) -> dict[int, Passage]:
        """The passages of these rows; a row that is not there is left out."""
        return dict(self._passages("p.row", [int(number) for number in numbers]))

    def passages(self, ids: Sequence[str]) -> dict[str, Passage]:
        return {passage.id: passage for _, passage in self._passages("p.id", ids)}

    @_checked
    def _passages(self, column: str, keys: Sequence[Any]) -> Iterator[tuple[int, Passage]]:
        sql = (
            "SELECT p.row, p.id, p.start, p.stop, p.metadata, d.row, d.id, d.metadata"  # noqa: S608
            f" FROM passages p JOIN documents d ON d.row = p.document WHERE {column} IN (?)"
        )
        found = list(self._among(sql, keys))
        blocks = {
            (row[5] << 20) + block
            for row in found
            for block in range(row[2] // BLOCK, max(row[3] - 1, row[2]) // BLOCK + 1)
        }
        texts = dict(self._among("SELECT key, text FROM texts WHERE key IN (?)", sorted(blocks)))
        for row, id, start, stop, own, document, name, shared in found:
            first, last = start // BLOCK, max(stop - 1, start) // BLOCK
            whole = "".join(texts.get((document << 20) + block, "") for block in range(first, last + 1))
            text = whole[start - first * BLOCK : stop - first * BLOCK]
            metadata = json.loads(shared)
            yield row, Passage(id, name, start, stop, text, _merged(metadata, own) if own else metadata)

    def _among(self, sql: str, keys: Sequence[Any]) -> Iterator[Any]:
        """The rows of a query whose ``IN (?)`` stands for the keys."""
        for at in range(0, len(keys), _MANY):
            part = list(keys[at : at + _MANY])
            yield from self._link.execute(sql.replace("IN (?)", f"IN ({','.join('?' * len(part))})"), part)

    @property
    @_checked
    def last(self) -> int:
        """The highest row that any passage ever had."""
        found = self._link.execute("SELECT seq FROM sqlite_sequence WHERE name='passages'").fetchone()
        return int(found[0]) if found else 0

    def numbers(self, above: int) -> list[int]:
        """The rows of passages above ``above``, in order."""
        return [row for (row,) in self._link.execute("SELECT row FROM passages WHERE row > ? ORDER BY row", (above,))]

    def names(self, rows: Sequence[int]) -> dict[int, str]:
        """Ids of passages by row."""
        return dict(self._among("SELECT row, id FROM passages WHERE row IN (?)", rows))

    def of_document(self, document: int) -> list[tuple[int, int, int]]:
        """Row, start and end of a document's passages."""
        sql = "SELECT row, start, stop FROM passages WHERE document=? ORDER BY row"
        return list(self._link.execute(sql, (document,)))

    @_checked
    def texts(self, row: int) -> Iterator[list[tuple[int, str]]]:
        """Row and text of every passage above ``row``, in order, in batches of whole documents."""
        batch: list[tuple[int, str]] = []
        text, owner = "", -1
        sql = "SELECT row, document, start, stop FROM passages WHERE row > ? ORDER BY row"
        for number, document, start, stop in self._link.execute(sql, (row,)).fetchall():
            if document != owner:
                if len(batch) >= 4096:
                    yield batch
                    batch = []
                text, owner = self.text(document), document
            batch.append((number, text[start:stop]))
        if batch:
            yield batch

    @_checked
    def metadata(self, row: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Row and metadata (the document's and its own) of every passage above ``row``, in order."""
        sql = (
            "SELECT p.row, p.metadata, d.metadata, d.row FROM passages p JOIN documents d ON d.row = p.document"
            " WHERE p.row > ? ORDER BY p.row"
        )
        owner = -1
        shared: dict[str, Any] = {}
        for number, own, text, document in self._link.execute(sql, (row,)):
            if document != owner:
                owner, shared = document, json.loads(text)
            yield number, _merged(shared, own) if own else shared

    def buried(self, generation: int) -> list[int]:
        """Rows deleted after that generation."""
        sql = "SELECT row FROM tombstones WHERE generation > ? ORDER BY row"
        return [row for (row,) in self._link.execute(sql, (generation,))]

    @_checked
    def vectors(self, above: int, dimensions: int) -> Iterator[tuple[Any, Any]]:
        """Rows and vectors of the stored blocks with rows above ``above``, also of passages that are deleted by now.

        Raises StoreError when a block is not what was written.
        """
        import numpy as np

        sql = "SELECT rows, data, sum FROM vectors WHERE first > ? ORDER BY first"
        for numbers, data, total in self._link.execute(sql, (above,)):
            if zlib.crc32(data, zlib.crc32(numbers)) != total:
                raise self.damaged("the checksum of its vectors is wrong")
            rows = np.frombuffer(numbers, np.int64)
            block = np.frombuffer(data, np.float32).reshape(len(rows), dimensions)
            yield rows, block

    def check(self) -> list[str]:
        """SQLite's own check of its pages and indexes; what is wrong, in words."""
        found = [row[0] for row in self._link.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    @_checked
    def each(self) -> Iterator[tuple[Document, bytes, list[tuple[int, int, int]]]]:
        """Every document with its hash and its passages (row, start, end)."""
        for row, id, hash, metadata in self._link.execute("SELECT row, id, hash, metadata FROM documents").fetchall():
            yield Document(id, self.text(row), json.loads(metadata)), hash, self.of_document(row)


def clean(text: str) -> str:
    """The text without lone surrogates, which no file can hold; as long as before, so that spans stay right."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _merged(shared: Mapping[str, Any], own: str) -> dict[str, Any]:
    """A passage's metadata: its document's with its own differences (null: the passage lacks that field)."""
    return {key: value for key, value in {**shared, **json.loads(own)}.items() if value is not None}
