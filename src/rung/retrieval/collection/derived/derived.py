"""What is derived from a collection's database so that it can be searched fast: each part shows one generation of
it, follows when it is behind, is saved to a side file with what it shows, and is made again when that is not what
was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rung.core.codec import canonical
from rung.core.errors import RungError, StoreError
from rung.core.protocols import Filter, Index
from rung.core.system.files import atomic_write
from rung.retrieval.collection.database.snapshot import Snapshot
from rung.retrieval.filter.columns import MetadataColumns
from rung.retrieval.index import open_index
from rung.retrieval.index.matrix import Matrix
from rung.retrieval.keyword.keyword import KeywordIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOT = 20_000
_FILTERS = 64
"""Filters whose result is remembered."""


class StaleError(Exception):
    """A part is ahead of the snapshot; begin again with a newer one."""


@dataclass(frozen=True, slots=True)
class Position:
    """What a part shows: a generation, and the highest row that there was then."""

    generation: int
    watermark: int


NOWHERE = Position(-1, 0)


class Derived(Protocol):
    """A part that follows the database. Rows never change and their numbers are never used again, so to follow is to
    take in the rows above the mark and to lose those that were deleted since."""

    at: Position

    def open(self) -> None:
        """Read what was saved, and set ``at`` to what it shows; what is missing, damaged or another's is passed
        over."""
        ...

    def clear(self, snapshot: Snapshot) -> None:
        """Hold nothing, so that following gives everything again."""
        ...

    def follow(self, snapshot: Snapshot, gone: Sequence[int]) -> int:
        """Take in the rows above ``at.watermark``, lose those ``gone``; how many came."""
        ...

    def save(self) -> None:
        """Write the side file. Raises OSError."""
        ...

    def check(self, snapshot: Snapshot) -> str:
        """Compare with the database, whose generation it shows; what is wrong, or nothing."""
        ...

    def close(self) -> None: ...


def bring(part: Derived, snapshot: Snapshot) -> int:
    """Bring a part to the snapshot's generation; how many rows it took in. Raises StaleError when it is ahead."""
    generation = snapshot.generation
    if part.at.generation == generation:
        return 0
    if part.at.generation > generation:
        raise StaleError
    floor = snapshot.floor
    if part.at.generation < floor:
        part.at = NOWHERE
        part.open()
        if not floor <= part.at.generation <= generation:
            part.at = NOWHERE
            part.clear(snapshot)
    try:
        added = part.follow(snapshot, snapshot.buried(part.at.generation))
    except BaseException:
        part.at = NOWHERE  # what failed halfway is made again
        raise
    part.at = Position(generation, max(snapshot.last, part.at.watermark))
    return added


@dataclass(slots=True)
class _Passing:
    """What passes a filter at a generation: positions in the matrix, and the same as ids of the keyword index."""

    generation: int
    positions: NDArray[np.bool_]
    ids: frozenset[str] | None = None


class VectorsPart:
    """The vectors as one matrix, searched exactly, and the metadata beside it once a filter asks."""

    def __init__(self, path: Path, key: str, dimensions: int) -> None:
        self.at = NOWHERE
        self.matrix = Matrix.empty(dimensions)
        self._path, self._key, self._dimensions = path, key, dimensions
        self._columns: MetadataColumns | None = None
        self._masks: dict[str, _Passing] = {}

    def open(self) -> None:
        try:
            matrix, note = Matrix.load(self._path, self._dimensions)
            if note["key"] == self._key:
                self.matrix, self._columns = matrix, None
                self.at = Position(note["generation"], note["watermark"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def clear(self, snapshot: Snapshot) -> None:
        self.matrix, self._columns = Matrix.empty(self._dimensions), None

    def follow(self, snapshot: Snapshot, gone: Sequence[int]) -> int:
        matrix, before = self.matrix, len(self.matrix)
        if self._dimensions:
            for rows, vectors in snapshot.vectors(self.at.watermark, self._dimensions):
                matrix = matrix.extend(rows, vectors)
        else:
            matrix = matrix.extend(snapshot.numbers(self.at.watermark), None)
        self.matrix = matrix.without(gone) if gone else matrix
        return len(matrix) - before

    def mask(self, snapshot: Snapshot, where: Filter) -> NDArray[np.bool_]:
        """Which positions pass the filter."""
        return self._passing(snapshot, where).positions

    def ids(self, snapshot: Snapshot, where: Filter) -> frozenset[str]:
        """The rows that pass the filter, as the keyword index names them."""
        passing = self._passing(snapshot, where)
        if passing.ids is None:
            passing.ids = frozenset(map(str, self.matrix.rows[passing.positions].tolist()))
        return passing.ids

    def _passing(self, snapshot: Snapshot, where: Filter) -> _Passing:
        """Remembered until something is written."""
        key = canonical(where)
        held = self._masks.get(key)
        if held is not None and held.generation == self.at.generation:
            return held
        columns = self._columns if self._columns is not None else MetadataColumns()
        rows = self.matrix.rows[len(columns) :].tolist()
        if rows:
            known = dict(snapshot.metadata(rows[0] - 1))
            columns.extend([known.get(row, {}) for row in rows])
        self._columns = columns
        positions = columns.mask(where)
        if self.matrix.live is not None:
            positions &= self.matrix.live
        if len(self._masks) >= _FILTERS:
            self._masks.clear()
        held = self._masks[key] = _Passing(self.at.generation, positions)
        return held

    def save(self) -> None:
        note = {"key": self._key, "generation": self.at.generation, "watermark": self.at.watermark}
        self.matrix.save(self._path, note)

    def check(self, snapshot: Snapshot) -> str:
        if self._path.exists():
            try:
                Matrix.load(self._path, self._dimensions)
            except (OSError, ValueError, KeyError, TypeError) as error:
                return f"vectors.bin: {error}"
        if not np.array_equal(self.matrix.alive, np.array(snapshot.numbers(0), np.int64)):
            return "vectors.bin: its rows are not those of the passages"
        for rows, vectors in snapshot.vectors(0, self._dimensions) if self._dimensions else ():
            places, found = self.matrix.positions(rows)
            if not np.array_equal(self.matrix.gather(places[found]), vectors[found]):
                return "vectors.bin: its vectors are not those stored"
        return ""

    def close(self) -> None:
        self.at = NOWHERE


class WordsPart:
    """The keyword index; its ids are the rows as texts."""

    def __init__(self, folder: Path, key: str) -> None:
        self.at = NOWHERE
        self.index = KeywordIndex()
        self._folder, self._key = folder, key

    def open(self) -> None:
        try:
            index = KeywordIndex.open(self._folder)
        except StoreError:
            return
        key, _, watermark = index.checksum.partition(":")
        if key == self._key:
            self.index, self.at = index, Position(index.generation, int(watermark))

    def clear(self, snapshot: Snapshot) -> None:
        self.index = KeywordIndex()

    def follow(self, snapshot: Snapshot, gone: Sequence[int]) -> int:
        added = 0
        for batch in snapshot.texts(self.at.watermark):
            self.index.upsert([str(row) for row, _ in batch], [text for _, text in batch])
            added += len(batch)
        if gone:
            self.index.delete([str(row) for row in gone])
        return added

    def save(self) -> None:
        self.index.save(self._folder, self.at.generation, f"{self._key}:{self.at.watermark}")

    def check(self, snapshot: Snapshot) -> str:
        if (self._folder / "keyword.npz").exists():
            try:
                KeywordIndex.open(self._folder)
            except StoreError as error:
                return f"keyword: {error.message}"
        rows = snapshot.numbers(0)
        same = len(self.index) == len(rows) and all(str(row) in self.index for row in rows)
        return "" if same else "keyword: its texts are not those of the passages"

    def close(self) -> None:
        self.at = NOWHERE


class IndexPart:
    """Another index over the vectors; its ids are the rows as texts. ``metadata``: it filters by itself."""

    def __init__(self, folder: Path, spec: str, vectors: VectorsPart, key: str, *, metadata: bool) -> None:
        self.at = NOWHERE
        self.spec = spec
        self.index: Index | None = None
        self._folder, self._vectors, self._key, self._metadata = folder, vectors, key, metadata

    @property
    def _note(self) -> Path:
        return self._folder / "index.json"

    def _opened(self) -> Index:
        if self.index is None:
            self.index = open_index(self.spec, self._folder / "index", self._vectors.matrix.dimensions)
        return self.index

    def open(self) -> None:
        index = self._opened()
        try:
            seen = json.loads(self._note.read_text())
            if seen["key"] == self._key and seen["rows"] == len(index):
                self.at = Position(int(seen["generation"]), int(seen["watermark"]))
        except (OSError, ValueError, KeyError, TypeError):
            return

    def clear(self, snapshot: Snapshot) -> None:
        """What it holds and the collection does not is deleted; the rest is put in again, which does no harm."""
        index = self._opened()
        alive = set(self._vectors.matrix.alive.tolist())
        unknown = [str(row) for row in range(1, snapshot.last + 1) if row not in alive]
        if unknown and len(index):
            index.delete(unknown)

    def follow(self, snapshot: Snapshot, gone: Sequence[int]) -> int:
        index, matrix, added = self._opened(), self._vectors.matrix, 0
        fresh = snapshot.metadata(self.at.watermark)
        while batch := list(islice(fresh, _LOT)):
            places, found = matrix.positions([row for row, _ in batch])
            if not found.all():
                raise StoreError("there are passages without vectors", remedy="see: rung index verify NAME")
            metadata = [item for _, item in batch] if self._metadata else None
            index.upsert([str(row) for row, _ in batch], matrix.gather(places), metadata)
            added += len(batch)
        if gone:
            index.delete([str(row) for row in gone])
        return added

    def save(self) -> None:
        if self.index is None or self.at == NOWHERE:
            return
        self.index.flush()
        seen: dict[str, Any] = {"key": self._key, "rows": len(self.index)}
        seen |= {"generation": self.at.generation, "watermark": self.at.watermark}
        with atomic_write(self._note, durable=False) as part:
            part.write_text(json.dumps(seen), encoding="utf-8")

    def check(self, snapshot: Snapshot) -> str:
        there, expected = len(self._opened()), len(snapshot.numbers(0))
        return "" if there == expected else f"{self.spec}: holds {there} rows, expected {expected}"

    def empty(self, last: int) -> None:
        """Take out all rows up to ``last``."""
        index = self._opened()
        index.delete([str(row) for row in range(1, last + 1)])
        index.flush()

    def abandon(self, name: str, last: int) -> None:
        """``empty``, before the collection of that name is deleted. Raises StoreError when the index cannot be
        reached."""
        try:
            self.empty(last)
        except RungError as error:
            raise StoreError(
                f"the rows of {name} in {self.spec} cannot be deleted: {error.message}",
                remedy=f"run it again once that index can be reached, or leave the rows there: rung index drop {name} --leave",
            ) from error

    def close(self) -> None:
        """Let go of its files, so that other processes may follow."""
        self.at = NOWHERE
        if self.index is not None:
            self.index.close()
            self.index = None
