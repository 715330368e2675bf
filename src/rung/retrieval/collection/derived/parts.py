"""The derived parts of an open collection, and what one search reads of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rung.core.errors import StoreError
from rung.core.protocols import Filter, Index
from rung.core.types import Passage
from rung.retrieval.collection.database.snapshot import Snapshot
from rung.retrieval.collection.derived.derived import (
    NOWHERE,
    Derived,
    IndexPart,
    Position,
    StaleError,
    VectorsPart,
    WordsPart,
    bring,
)
from rung.retrieval.rank.pipeline import Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Matrix

T = TypeVar("T")

GRAPH = 100_000
"""From this many passages on, the embedded index searches a graph (backend ``hnsw``) where usearch is installed."""
FOLLOW_LIMIT = 2000
"""A side file that is behind by more rows than this is written again by whoever opens it."""
_AWAY = 5.0
"""Seconds for which an index that another process holds is not asked again."""
_MOST = 1000
"""Hits that are taken from a graph at most."""


class Parts:
    """Vectors, words and, where the collection has one, another index. ``keep`` saves what was far behind."""

    def __init__(self, folder: Path, meta: Mapping[str, Any], keep: Callable[[Derived], None]) -> None:
        key, self.embedded = meta["key"], meta["index"] == "embedded"
        self.lock = threading.RLock()
        self.vectors = VectorsPart(folder / "vectors.bin", key, int(meta["dimensions"]))
        self.words = WordsPart(folder / "keyword", key)
        spec = "hnsw" if self.embedded else str(meta["index"])
        self.index = IndexPart(folder, spec, self.vectors, key, metadata=not self.embedded)
        self._keep = keep
        self._away = 0.0
        self._folder = folder

    def used(self) -> tuple[Derived, ...]:
        """The parts that this collection has; the vectors come first, which the index is filled from."""
        return (self.vectors, self.words, *([self.index] if self.has_index() else []))

    def has_index(self) -> bool:
        """Whether another index answers for the vectors. Asked once the vectors have followed."""
        matrix = self.vectors.matrix
        return not self.embedded or (
            len(matrix) >= GRAPH and matrix.dimensions > 0 and find_spec("usearch") is not None
        )

    def follow(self, snapshot: Snapshot, part: Derived | None = None) -> None:
        """Bring a part (None: every one) to the snapshot's generation. Raises StaleError when it is ahead."""
        with self.lock:
            if bring(self.vectors, snapshot) > FOLLOW_LIMIT:
                self._keep(self.vectors)
            for one in self.used()[1:] if part is None else (part,):
                if bring(one, snapshot) > FOLLOW_LIMIT:
                    self._keep(one)

    def reachable(self, snapshot: Snapshot) -> Index | None:
        """The other index; None while another process holds its files: then the matrix, which is as right and
        slower."""
        if time.monotonic() < self._away:
            return None
        try:
            self.follow(snapshot, self.index)
        except StoreError:
            if "://" in self.index.spec:
                raise
            self._away = time.monotonic() + _AWAY
            return None
        return self.index.index

    def save(self) -> None:
        """Write every side file. Raises OSError or StoreError."""
        with self.lock:
            for part in self.used():
                if part.at != NOWHERE:
                    part.save()

    def move(self, generation: int) -> None:
        """The database got a new generation without a change of its rows."""
        with self.lock:
            for part in self.used():
                part.at = Position(generation, part.at.watermark)

    def forget(self) -> None:
        """Whatever there is, also on the disk, is to be made again."""
        with self.lock:
            for name in ("vectors.bin", "keyword/keyword.npz", "index.json"):
                (self._folder / name).unlink(missing_ok=True)
            for part in self.used():
                part.at = NOWHERE

    def close(self) -> None:
        with self.lock:
            for part in (self.vectors, self.words, self.index):
                part.close()


class CollectionView:
    """The parts at the generation of a snapshot: where a search gets its candidates from."""

    def __init__(self, parts: Parts, snapshot: Snapshot) -> None:
        self._parts, self._snapshot = parts, snapshot
        with parts.lock:
            parts.follow(snapshot, parts.vectors)
            self.matrix: Matrix = parts.vectors.matrix
        self._generation = snapshot.generation

    def _still(self, part: Derived) -> None:
        if part.at.generation != self._generation:  # a writer came between
            raise StaleError

    def _passing(self, where: Filter, what: Callable[[Snapshot, Filter], T]) -> T:
        with self._parts.lock:
            self._still(self._parts.vectors)
            return what(self._snapshot, where)

    # ------------------------------------------------------------ dense

    def dense(self, vectors: NDArray[np.float32], k: int, where: Filter | None) -> list[Ranking]:
        parts = self._parts
        index = parts.reachable(self._snapshot) if parts.has_index() and (not parts.embedded or k <= _MOST) else None
        if index is not None and not parts.embedded:
            found = index.search(vectors, k, where)
            self._still(parts.index)
            return [[(int(id), score) for id, score in hits] for hits in found]
        mask = None if where is None else self._passing(where, parts.vectors.mask)
        if index is not None:
            rankings = self._rescore(index, vectors, k, mask)
            if rankings is not None:
                return rankings
        return [
            list(zip(rows.tolist(), scores.tolist(), strict=True))
            for rows, scores in self.matrix.search(vectors, k, mask)
        ]

    def _rescore(
        self, graph: Index, vectors: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None
    ) -> list[Ranking] | None:
        """The graph's hits that pass the filter, with exact scores; None where comparing all that pass is the better
        way."""
        asked = k
        if mask is not None:
            passing = int(np.count_nonzero(mask))
            if passing <= GRAPH // 2:
                return None
            asked = min(_MOST, 3 * k * len(mask) // passing)
        out = []
        for vector, found in zip(vectors, graph.search(vectors, asked), strict=True):
            places, there = self.matrix.positions(np.array([int(id) for id, _ in found], np.int64))
            places = places[there]
            if mask is not None:
                places = places[mask[places]]
                if len(places) < k:
                    return None
            scores = self.matrix.gather(places) @ vector
            order = np.lexsort((places, -scores))[:k]
            out.append(list(zip(self.matrix.rows[places[order]].tolist(), scores[order].tolist(), strict=True)))
        self._still(self._parts.index)
        return out

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32] | None:
        places, found = self.matrix.positions(rows)
        return self.matrix.gather(places) if self.matrix.dimensions and found.all() else None

    # ------------------------------------------------------------ words

    def keyword(self, queries: Sequence[str], k: int, where: Filter | None) -> list[Ranking]:
        words = self._parts.words
        self._parts.follow(self._snapshot, words)
        allowed = None if where is None else self._passing(where, self._parts.vectors.ids)
        found = [words.index.search(query, k, allowed) for query in queries]
        self._still(words)
        return [[(int(id), score) for id, score in hits] for hits in found]

    def max_score(self, query: str) -> tuple[float, int]:
        self._parts.follow(self._snapshot, self._parts.words)
        return self._parts.words.index.max_score(query)

    def idf(self, query: str) -> dict[str, float]:
        self._parts.follow(self._snapshot, self._parts.words)
        return self._parts.words.index.idf(query)

    # ------------------------------------------------------------ passages

    def passages(self, rows: Sequence[int]) -> dict[int, Passage]:
        return self._snapshot.rows(rows)

    def named(self, ranking: Ranking) -> list[tuple[str, float]]:
        """A ranking with the passages' ids in place of their rows."""
        names = self._snapshot.names([row for row, _ in ranking])
        return [(names[row], score) for row, score in ranking if row in names]
