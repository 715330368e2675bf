"""What is written to a collection's database in one step."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.core.types import Document, Passage
from rung.retrieval.collection.database.snapshot import BLOCK, Snapshot, clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document ready to be written, with its passages and their vectors (shape (passages, dimensions); None:
    none)."""

    document: Document
    hash: bytes
    passages: tuple[Passage, ...]
    vectors: NDArray[np.float32] | None
    source: str = ""
    stamp: str = ""


class Transaction(Snapshot):
    """A snapshot that is written to: all of it or nothing."""

    def set(self, key: str, value: Any) -> None:
        self._link.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (key, json.dumps(value)))

    def write(self, entries: Sequence[NewDocument], deleted: Sequence[int] = ()) -> None:
        """Write documents with their passages, and remove the documents of the rows ``deleted``, in the open
        transaction.

        Raises InputError for a document or passage id that is there already.
        """
        import numpy as np

        generation = self.generation + 1
        removed: list[int] = []
        for gone in deleted:
            rows = [row for (row,) in self._link.execute("SELECT row FROM passages WHERE document=?", (gone,))]
            removed += rows
            self._link.execute("DELETE FROM passages WHERE document=?", (gone,))
            self._link.execute("DELETE FROM texts WHERE key BETWEEN ? AND ?", (gone << 20, (gone << 20) + 0xFFFFF))
            self._link.execute("DELETE FROM documents WHERE row=?", (gone,))
        if removed:
            self._link.executemany("INSERT INTO tombstones VALUES (?,?)", [(row, generation) for row in removed])
            # A block of one row is the row's own; larger ones keep their dead rows until compact().
            self._link.executemany("DELETE FROM vectors WHERE first=? AND count=1", [(row,) for row in removed])
        row = self.last
        number = self._link.execute("SELECT seq FROM sqlite_sequence WHERE name='documents'").fetchone()
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
            self._link.executemany("INSERT INTO documents VALUES (?,?,?,?,?,?,?)", documents)
            self._link.executemany("INSERT INTO texts VALUES (?,?)", texts)
            self._link.executemany("INSERT INTO passages VALUES (?,?,?,?,?,?)", passages)
        except sqlite3.IntegrityError:
            self._clash(entries)
            raise
        matrices = [entry.vectors for entry in entries if entry.vectors is not None]
        if added and matrices:
            numbers = np.asarray(added, np.int64).tobytes()
            data = _raw(matrices[0] if len(matrices) == 1 else np.concatenate(matrices))
            total = zlib.crc32(data, zlib.crc32(numbers))
            self._link.execute("INSERT INTO vectors VALUES (?,?,?,?,?)", (added[0], len(added), numbers, data, total))
        self._link.execute("UPDATE meta SET value=? WHERE key='generation'", (str(generation),))

    def _clash(self, entries: Sequence[NewDocument]) -> None:
        ids: set[str] = set()
        for entry in entries:
            for passage in entry.passages:
                there = self._link.execute("SELECT 1 FROM passages WHERE id=?", (passage.id,)).fetchone()
                if there or passage.id in ids:
                    raise InputError(
                        f"passage id {passage.id!r} (document {entry.document.id!r}) is taken by another passage",
                        remedy="give documents ids that differ",
                    ) from None
                ids.add(passage.id)

    def touch(self, stamps: Sequence[tuple[str, str, int]]) -> None:
        """Note the source and stamp of documents (by row) whose content is as it was."""
        self._link.executemany("UPDATE documents SET source=?, stamp=? WHERE row=?", stamps)

    def rewrite(self, dimensions: int) -> int:
        """Merge the blocks of vectors without their dead rows, and forget the tombstones. Gives the new generation."""
        import numpy as np

        alive = np.fromiter((row for (row,) in self._link.execute("SELECT row FROM passages ORDER BY row")), np.int64)
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

        self._link.execute("CREATE TEMP TABLE IF NOT EXISTS packed AS SELECT * FROM vectors WHERE 0")
        self._link.execute("DELETE FROM temp.packed")
        held = 0
        for rows, data in self.vectors(-1, dimensions) if dimensions else ():
            keep = np.isin(rows, alive, assume_unique=True)
            blocks.append((rows[keep], data[keep])) if keep.any() else None
            held += int(keep.sum())
            if held >= 4096:
                pack()
                self._link.executemany("INSERT INTO temp.packed VALUES (?,?,?,?,?)", fresh)
                fresh.clear()
                held = 0
        pack()
        self._link.executemany("INSERT INTO temp.packed VALUES (?,?,?,?,?)", fresh)
        self._link.execute("DELETE FROM vectors")
        self._link.execute("INSERT INTO vectors SELECT * FROM temp.packed")
        self._link.execute("DELETE FROM temp.packed")
        self._link.execute("DELETE FROM tombstones")
        generation = self.generation + 1
        self._link.execute("UPDATE meta SET value=? WHERE key='generation'", (str(generation),))
        self._link.execute("UPDATE meta SET value=? WHERE key='floor'", (str(generation),))
        return generation


def _raw(vectors: NDArray[np.float32]) -> memoryview:
    """The bytes of vectors, without a copy where they lie in one piece."""
    import numpy as np

    return np.ascontiguousarray(vectors, np.float32).reshape(-1).data.cast("B")


def _json(metadata: Mapping[str, Any]) -> str:
    if not metadata:
        return "{}"
    try:
        return clean(json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    except (TypeError, ValueError):
        raise InputError(
            f"metadata {dict(metadata)!r} cannot be stored: values are strings, finite numbers, booleans or lists of strings"
        ) from None
