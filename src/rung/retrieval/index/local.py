"""An index in a folder of files: ids, metadata, deletions and filters here; the vectors in an engine.

It is derived from what it was filled from: what ``flush`` wrote is there after a crash, whole; what came after it is to
be put in again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rung.core.errors import InputError, StoreError
from rung.core.protocols import Filter
from rung.core.system.arrays import read_arrays
from rung.core.system.lock import ReadWriteLock
from rung.retrieval.filter.columns import MetadataColumns
from rung.retrieval.index.check import check_new, check_queries, check_rows
from rung.retrieval.index.folder import Folder
from rung.retrieval.index.matrix import best

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Hits

_FEW = 2000  # passing rows that are compared one by one rather than searched for in a graph
_SPARE = 0.4  # the share of deleted rows that is carried along before a flush rebuilds
_LOT = 1 << 24  # numbers of vectors that are looked at together: 64 MB


class VectorEngine(Protocol):
    """Vectors by row number, 0 upwards; rows are only ever appended. The index above knows ids, filters and deletions.

    ``exact``: it finds the true neighbours. ``masks``: ``search`` takes the rows allowed (an exact one always does).
    ``forgets``: it never finds discarded rows.
    """

    exact: bool
    masks: bool
    forgets: bool

    def __len__(self) -> int: ...
    def append(self, vectors: NDArray[np.float32]) -> None: ...
    def discard(self, rows: Sequence[int]) -> None:
        """These rows were deleted; an engine that cannot forget them does nothing: their hits are left out above."""
        ...

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> list[Hits]:
        """For each query rows and inner products, best first; k of them, or fewer where the engine finds no more."""
        ...

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of rows, as precisely as they are kept."""
        ...

    def settle(self) -> None:
        """Before a snapshot: train, or build again what cannot grow."""
        ...

    def save(self, stem: Path) -> list[Path]:
        """Write files whose names begin with ``stem``; which."""
        ...

    def load(self, stem: Path) -> None:
        """Read what ``save`` wrote. Raises ValueError or OSError when it does not fit."""
        ...


class LocalIndex:
    """An Index over an engine. ``make`` makes an empty engine, ``layout`` names what its files depend on."""

    _engine: VectorEngine
    _ids: list[str]
    _rows: dict[str, int]
    """The rows that are there, by id."""
    _live: NDArray[np.bool_]
    _columns: MetadataColumns

    def __init__(self, name: str, layout: str, make: Callable[[], VectorEngine], folder: Path, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self._make = make
        self._folder = Folder(folder, name, layout, dimensions)
        self._lock = ReadWriteLock()
        self._writing = False
        self._changed = False
        self._closed = False
        self._load()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def engine(self) -> VectorEngine:
        return self._engine

    # ------------------------------------------------------------ reading

    def search(
        self, vectors: NDArray[np.float32], k: int, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        queries = check_queries(vectors, self.dimensions, k)
        with self._lock.read():
            allowed = self._allowed(where)
            count = len(self._ids) if allowed is None else int(np.count_nonzero(allowed))
            if not count:
                return [[] for _ in queries]
            found = self._search(queries, min(k, count), allowed, count)
            return [self._hits(rows, scores, k) for rows, scores in found]

    def _hits(self, rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """Best first, ties by id."""
        hits = list(zip(map(self._ids.__getitem__, rows.tolist()), scores.tolist(), strict=True))
        hits.sort(key=lambda hit: (-hit[1], hit[0]))
        return hits[:k]

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of ids, as precisely as the engine keeps them. Raises InputError for an id that is not there."""
        with self._lock.read():
            missing = next((name for name in ids if name not in self._rows), None)
            if missing is not None:
                raise InputError(f"there is no vector with the id {missing!r}")
            return self._engine.vectors(np.array([self._rows[name] for name in ids], np.int64))

    def _allowed(self, where: Filter | None) -> NDArray[np.bool_] | None:
        """Which rows may be found; None: all that the engine would find."""
        dead = len(self._ids) - len(self._rows)
        if where is None and (not dead or self._engine.forgets):
            return None if not dead else self._live
        allowed = self._columns.mask(where)
        return allowed & self._live if dead else allowed

    def _search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None, count: int
    ) -> list[Hits]:
        engine, rows = self._engine, len(self._ids)
        if engine.exact:
            return engine.search(queries, k, allowed)
        if allowed is not None and (k >= count or count <= max(_FEW, rows // 50)):
            return self._scan(queries, k, allowed)
        if allowed is None or engine.masks:
            found = engine.search(queries, k, allowed)
        elif engine.forgets and count == len(self._rows):
            found = engine.search(queries, k, None)
        else:
            found = self._sift(queries, k, allowed, count)
        # A graph can run dry: a query that got fewer than k, of which there are enough, is given the truth.
        poor = [at for at, (names, _) in enumerate(found) if len(names) < k]
        if poor:
            every = np.ones(rows, np.bool_) if allowed is None else allowed
            for at, hits in zip(poor, self._scan(queries[poor], k, every), strict=True):
                found[at] = hits
        return found

    def _sift(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], count: int) -> list[Hits]:
        """Ask for more than k and keep those that pass, more again where that was too few."""
        rows = len(allowed)
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        out: list[Hits] = [nothing for _ in queries]
        asked, left = min(rows, int(k * rows / count * 1.5) + 10), list(range(len(queries)))
        while left and asked <= max(10_000, rows // 20):
            for at, (names, scores) in zip(left, self._engine.search(queries[left], asked, None), strict=True):
                passes = allowed[names]
                out[at] = names[passes][:k], scores[passes][:k]
            left = [at for at in left if len(out[at][0]) < k]
            asked = min(rows, asked * 4) if asked < rows else rows + 10_001
        return out

    def _scan(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> list[Hits]:
        """Exact search among the rows allowed, a lot of them at a time."""
        rows = np.flatnonzero(allowed)
        lot = max(1, _LOT // self.dimensions)
        out: list[Hits] = [(rows[:0], np.empty(0, np.float32)) for _ in queries]
        for start in range(0, len(rows), lot):
            names = rows[start : start + lot]
            for at, scores in enumerate(queries @ self._engine.vectors(names).T):
                both = np.concatenate([out[at][0], names]), np.concatenate([out[at][1], scores])
                places = best(both[1], k, ties=True)
                out[at] = both[0][places], both[1][places]
        return out

    # ------------------------------------------------------------ writing

    def add(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self.dimensions)
        with self._lock.write():
            self._begin()
            check_new(ids, self._rows)
            self._append(ids, rows, metadata)

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self.dimensions)
        with self._lock.write():
            self._begin()
            self._append(ids, rows, metadata)

    def delete(self, ids: Sequence[str]) -> int:
        with self._lock.write():
            self._begin()
            return self._discard(ids)

    def _append(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None
    ) -> None:
        start = len(self._ids)
        self._columns.extend(metadata, len(ids))
        try:
            self._engine.append(vectors)
        except BaseException:
            self._columns = self._columns.take(np.arange(start))
            raise
        self._discard(ids)
        self._ids.extend(ids)
        self._rows.update(zip(ids, range(start, start + len(ids)), strict=True))
        self._live = np.concatenate([self._live, np.ones(len(ids), np.bool_)])
        self._changed = True

    def _discard(self, ids: Sequence[str]) -> int:
        gone = [row for name in ids if (row := self._rows.pop(name, None)) is not None]
        if gone:
            self._live[gone] = False
            self._engine.discard(gone)
            self._changed = True
        return len(gone)

    def flush(self) -> None:
        """Write a snapshot of what was changed, and let others write."""
        with self._lock.write():
            if not self._writing:
                return
            if self._changed:
                if len(self._ids) - len(self._rows) > max(1000, int(_SPARE * len(self._ids))):
                    self._rebuild()
                self._engine.settle()
                self._folder.save(self._save)
            self._changed = self._writing = False
            self._folder.unlock()

    def compact(self) -> None:
        """Build the engine again from the rows that are there, and write a snapshot. Takes as long as a build."""
        with self._lock.write():
            self._begin()
            if len(self._rows) < len(self._ids):
                self._rebuild()
            self._changed = True
            self.flush()

    def close(self) -> None:
        with self._lock.write():
            try:
                if not self._closed:
                    self.flush()
            finally:
                self._closed = True
                self._folder.unlock()

    def _begin(self) -> None:
        """Become the writer, and see what another wrote before."""
        if self._closed:
            raise StoreError(f"the index at {self._folder.path} is closed", remedy="open it again")
        if self._writing:
            return
        self._folder.lock()
        try:
            if self._folder.current() != self._folder.generation:
                self._load()
        except BaseException:
            self._folder.unlock()
            raise
        self._writing = True

    def _rebuild(self) -> None:
        live = np.flatnonzero(self._live)
        engine = self._make()
        lot = max(1, _LOT // self.dimensions)
        for start in range(0, len(live), lot):
            engine.append(self._engine.vectors(live[start : start + lot]))
        ids = [self._ids[row] for row in live.tolist()]
        self._fill(engine, ids, self._columns.take(live), np.ones(len(ids), np.bool_))

    def _fill(self, engine: VectorEngine, ids: list[str], columns: MetadataColumns, live: NDArray[np.bool_]) -> None:
        self._engine, self._ids, self._columns, self._live = engine, ids, columns, live
        alive = live.tolist()
        self._rows = {name: row for row, name in enumerate(ids) if alive[row]}

    # ------------------------------------------------------------ files

    def _load(self) -> None:
        self._fill(self._make(), [], MetadataColumns(), np.zeros(0, np.bool_))
        self._folder.load(self._read)

    def _read(self, stem: Path) -> None:
        engine = self._make()
        stored = read_arrays(stem.with_suffix(".rows.npz"))
        ids, fields = (json.loads(stored[name].tobytes()) for name in ("ids", "fields"))
        columns = [(name, cells, stored[f"codes{at}"]) for at, (name, cells) in enumerate(fields)]
        live = stored["live"]
        engine.load(stem)
        if len(engine) != len(ids) or len(live) != len(ids):
            raise ValueError(f"{len(engine)} vectors for {len(ids)} ids")
        self._fill(engine, ids, MetadataColumns.restore(len(ids), columns), live)

    def _save(self, stem: Path) -> list[Path]:
        fields = list(self._columns.dump())
        arrays: dict[str, Any] = {f"codes{at}": codes for at, (_, _, codes) in enumerate(fields)}
        arrays["live"] = self._live
        arrays["ids"] = np.frombuffer(json.dumps(self._ids).encode(), np.uint8)
        arrays["fields"] = np.frombuffer(json.dumps([field[:2] for field in fields]).encode(), np.uint8)
        path = stem.with_suffix(".rows.npz")
        with path.open("wb") as stream:
            np.savez(stream, **arrays)
        return [path, *self._engine.save(stem)]


def padded(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Hits]:
    """Hits of an engine that answers with arrays of shape (queries, k), filled up with row -1."""
    return [(names[names >= 0], values[names >= 0]) for names, values in zip(rows, scores, strict=True)]
