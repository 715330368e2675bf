"""Exact search: vectors as one matrix, every one compared. Kept in memory or mapped from a file with a checksum.

A Matrix is an unchanging snapshot; ``extend`` and ``without`` give a new one that shares its memory. Readers so keep
what they began with while one writer goes on.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rung.core.system.files import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hits = tuple[NDArray[np.int64], NDArray[np.float32]]

Precision = Literal["f32", "f16"]
FORMAT = 2
_HEADER = 4096
_BLOCK = 64
_FIRST, _LARGEST = 1024, 65536
_DENSE = 0.3
"""A filter that lets through more of the rows than this is answered by comparing all of them: gathering costs a
copy."""
_SCORES = 8_000_000
"""Scores of several queries that are held at once: 32 MB."""


class _Room:
    """Memory that fills up and is never moved: snapshots point into it."""

    def __init__(self, size: int, dimensions: int, kind: np.dtype[Any]) -> None:
        self.data = np.empty((size, dimensions), kind)
        self.used = 0


class _Roll:
    """Numbers that are appended to; moved when full, while old snapshots keep the old memory."""

    def __init__(self, data: NDArray[Any]) -> None:
        self.data, self.used = data, len(data)

    def extend(self, items: NDArray[Any]) -> NDArray[Any]:
        end = self.used + len(items)
        if end > len(self.data):
            grown = np.empty(max(end, 2 * len(self.data), 64), self.data.dtype)
            grown[: self.used] = self.data[: self.used]
            self.data = grown
        self.data[self.used : end] = items
        self.used = end
        return self.data[:end]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Position -> row number (ascending) and vector; ``live`` is False at positions whose row is deleted (None: at
    none). ``parts`` are the vectors, one after another, float32 or float16 of shape (n, dimensions)."""

    dimensions: int
    rows: NDArray[np.int64]
    parts: tuple[NDArray[np.floating[Any]], ...] = ()
    live: NDArray[np.bool_] | None = None
    precision: Precision = "f32"
    _room: _Room | None = None
    _roll: _Roll | None = None

    @classmethod
    def empty(cls, dimensions: int, precision: Precision = "f32") -> Matrix:
        return cls(dimensions, np.empty(0, np.int64), precision=precision)

    def __len__(self) -> int:
        """Positions, also dead ones."""
        return len(self.rows)

    @property
    def alive(self) -> NDArray[np.int64]:
        """The rows that are not deleted."""
        return self.rows if self.live is None else self.rows[self.live]

    # ------------------------------------------------------------ change

    def extend(self, rows: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float32] | None) -> Matrix:
        """With these rows (all above the highest so far) at the end. Only the newest snapshot may be extended."""
        added = np.asarray(rows, np.int64)
        if not len(added):
            return self
        roll = self._roll or _Roll(self.rows)
        parts, room = list(self.parts), self._room
        if self.dimensions:
            assert vectors is not None
            at = 0
            while at < len(added):
                if room is None or room.used == len(room.data):
                    size = min(max(_FIRST, len(self.rows), len(added) - at), _LARGEST)
                    room = _Room(size, self.dimensions, _kind(self.precision))
                    parts.append(room.data[:0])
                count = min(len(added) - at, len(room.data) - room.used)
                room.data[room.used : room.used + count] = vectors[at : at + count]
                room.used += count
                parts[-1] = room.data[: room.used]
                at += count
        live = None if self.live is None else np.concatenate([self.live, np.ones(len(added), np.bool_)])
        return replace(self, rows=roll.extend(added), parts=tuple(parts), live=live, _room=room, _roll=roll)

    def without(self, rows: Sequence[int]) -> Matrix:
        """With these rows dead; unknown ones are passed over."""
        places, found = self.positions(rows)
        if not found.any():
            return self
        live = np.ones(len(self.rows), np.bool_) if self.live is None else self.live.copy()
        live[places[found]] = False
        return replace(self, live=live)

    def positions(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where these rows are, and which of them are there at all."""
        wanted = np.asarray(rows, np.int64)
        places = np.searchsorted(self.rows, wanted)
        inside = places < len(self.rows)
        found = np.zeros(len(wanted), np.bool_)
        found[inside] = self.rows[places[inside]] == wanted[inside]
        return places, found

    def gather(self, positions: NDArray[np.intp]) -> NDArray[np.float32]:
        """The vectors at these positions, shape (n, dimensions)."""
        if len(self.parts) == 1:
            return self.parts[0][positions].astype(np.float32, copy=False)
        out = np.empty((len(positions), self.dimensions), np.float32)
        for start, part in self._blocks():
            here = (positions >= start) & (positions < start + len(part))
            out[here] = part[positions[here] - start]
        return out

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
        """Each part and the position it begins at; float16 in blocks small enough to be made float32 one at a time."""
        start = 0
        for part in self.parts:
            step = len(part) if self.precision == "f32" else _LARGEST
            for at in range(0, len(part), max(1, step)):
                yield start + at, part[at : at + step]
            start += len(part)

    # ------------------------------------------------------------ search

    def search(
        self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None, *, ties: bool = False
    ) -> list[Hits]:
        """For each query (shape (n, dimensions)) the rows and inner products of the k best that are alive and in
        ``mask`` (over positions), best first, ties by row. ``ties``: also all that are as good as the last of them."""
        keep = self.live if mask is None else mask if self.live is None else mask & self.live
        if not len(self.rows) or not self.dimensions or k < 1:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        chosen: NDArray[np.intp] | None = None
        if keep is not None and int(np.count_nonzero(keep)) <= _DENSE * len(self.rows):
            chosen = np.flatnonzero(keep)
        vectors = None if chosen is None else self.gather(chosen)
        count = len(self.rows) if chosen is None else len(chosen)
        out: list[Hits] = []
        step = max(1, _SCORES // max(1, count))
        for first in range(0, len(queries), step):
            block = queries[first : first + step]
            table = self._products(block) if vectors is None else _product(vectors, block)
            if keep is not None and chosen is None:
                table[:, ~keep] = -np.inf
            for scores, query in zip(table, block, strict=True):
                if len(queries) > 1:
                    scores = self._again(scores, query, k, chosen)
                places = best(scores, k, ties=ties)
                out.append((self.rows[places if chosen is None else chosen[places]], scores[places]))
        return out

    def _products(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of every query with every position, shape (queries, positions)."""
        table = np.empty((len(queries), len(self.rows)), np.float32)
        for start, part in self._blocks():
            table[:, start : start + len(part)] = _product(part.astype(np.float32, copy=False), queries)
        return table

    def _again(
        self, scores: NDArray[np.float32], query: NDArray[np.float32], k: int, chosen: NDArray[np.intp] | None
    ) -> NDArray[np.float32]:
        """Scores that came out of a product of matrices, whose last bits depend on the queries beside this one: what
        could be among the k best is multiplied as a single query's is, so that both give the same; the rest is left
        out."""
        first = best(scores, k)
        if not len(first):
            return scores
        places = np.flatnonzero(scores >= scores[first[-1]] - np.float32(1e-5))
        out = np.full(len(scores), -np.inf, np.float32)
        out[places] = products(self.gather(places if chosen is None else chosen[places]), query)
        return out

    # ------------------------------------------------------------ on disk

    def save(self, path: Path, note: dict[str, Any] | None = None) -> None:
        """Write the living rows and ``note`` to a file, whole or not at all. It is derived, so it is not synced:
        what a power cut leaves of it fails its checksum and is made again. Raises OSError."""
        rows = self.alive
        with atomic_write(path, durable=False) as part, part.open("wb") as stream:
            stream.write(b"\0" * _HEADER)
            total = zlib.crc32(_raw(rows))
            stream.write(_raw(rows))
            start = 0
            for block in self.parts:
                data = _raw(block if self.live is None else block[self.live[start : start + len(block)]])
                total = zlib.crc32(data, total)
                stream.write(data)
                start += len(block)
            head = {
                "format": FORMAT,
                "rows": len(rows),
                "dimensions": self.dimensions,
                "precision": self.precision,
                "sum": total,
                "note": note or {},
            }
            text = json.dumps(head).encode()
            stream.seek(0)
            stream.write(_seal(text) + b"\n" + text)

    @classmethod
    def load(cls, path: Path, dimensions: int, precision: Precision = "f32") -> tuple[Matrix, dict[str, Any]]:
        """The matrix of a file (mapped) and its note. Raises OSError, or ValueError when it is not what was written."""
        with path.open("rb") as stream:
            seal, _, rest = stream.read(_HEADER).partition(b"\n")
            text = rest.rstrip(b"\0")
            if seal != _seal(text):
                raise ValueError("the checksum of its head is wrong")
            head = json.loads(text)
            count, kind = head["rows"], _kind(precision)
            size = _HEADER + count * (8 + kind.itemsize * dimensions)
            wanted = {"format": FORMAT, "dimensions": dimensions, "precision": precision}
            if {name: head.get(name) for name in wanted} != wanted or os.fstat(stream.fileno()).st_size != size:
                raise ValueError(f"it does not hold {count} vectors of {dimensions} dimensions ({precision})")
            if not count:
                return cls.empty(dimensions, precision), head["note"]
            raw = np.asarray(np.memmap(stream, np.uint8, "r", _HEADER))
        if zlib.crc32(_raw(raw)) != head["sum"]:
            raise ValueError("the checksum of its content is wrong")
        vectors = raw[8 * count :].view(kind).reshape(count, dimensions) if dimensions else None
        parts = (vectors,) if vectors is not None else ()
        return cls(dimensions, raw[: 8 * count].view(np.int64), parts, precision=precision), head["note"]


def _seal(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()


def _kind(precision: Precision) -> np.dtype[Any]:
    return np.dtype(np.float32 if precision == "f32" else np.float16)


def _product(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    return products(vectors, queries[0])[None] if len(queries) == 1 else queries @ vectors.T


def products(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products of one query. ``vecdot`` calls BLAS a row at a time, so on one thread: one product of a matrix
    and a vector is split among BLAS's threads, which wait for each other; on a busy machine that took 15 ms instead
    of 0.7."""
    found: NDArray[np.float32] = np.vecdot(vectors, query)
    return found


def _raw(array: NDArray[Any]) -> memoryview:
    """The bytes of an array, without a copy where it lies in one piece."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def best(scores: NDArray[np.float32], k: int, *, ties: bool = False) -> NDArray[np.intp]:
    """Positions of the k highest scores, best first, ties by position; those at minus infinity are left out. ``ties``:
    also all that are as high as the last of them.

    The maxima of blocks of 64 give a threshold that at most a few more than k scores reach: the k-th highest of the
    maxima cannot be above the k-th highest score. An order of magnitude faster than ``argpartition`` on 20,000 scores.
    """
    count = len(scores)
    whole = count // _BLOCK
    if k < whole:
        maxima = scores[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)
        places = np.flatnonzero(scores >= np.partition(maxima, whole - k)[whole - k])
    else:
        places = np.arange(count)
    if len(places) > 8 * k + 64:
        threshold = np.partition(scores[places], len(places) - k)[len(places) - k]
        places = places[scores[places] >= threshold]
    places = places[np.argsort(-scores[places], kind="stable")]
    if len(places) > k:
        places = places[: np.searchsorted(-scores[places], -scores[places[k - 1]], side="right") if ties else k]
    return places[scores[places] > -np.inf]
