"""Exact nearest passages: every vector is compared, in memory that lies in a mapped side file.

A Matrix is an unchanging snapshot; ``extend`` and ``without`` give a new one that shares its memory. Readers so keep what they
began with while one writer goes on.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.files import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
_HEADER = 4096
_BLOCK = 64
_FIRST, _LARGEST = 1024, 65536
_DENSE = 0.3
"""A filter that lets through more of the rows than this is answered by comparing all of them: gathering costs a copy."""


class _Room:
    """Memory that fills up and is never moved: snapshots point into it."""

    def __init__(self, size: int, dimensions: int) -> None:
        self.data = np.empty((size, dimensions), np.float32)
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
    """Position -> passage's row (ascending) and vector; ``live`` is False at positions whose passage is deleted (None: at
    none). ``parts`` are the vectors, one after another, float32 of shape (n, dimensions)."""

    dimensions: int
    rows: NDArray[np.int64]
    parts: tuple[NDArray[np.float32], ...]
    live: NDArray[np.bool_] | None = None
    _room: _Room | None = None
    _roll: _Roll | None = None

    @classmethod
    def empty(cls, dimensions: int) -> Matrix:
        return cls(dimensions, np.empty(0, np.int64), ())

    def __len__(self) -> int:
        """Positions, also dead ones."""
        return len(self.rows)

    @property
    def dead(self) -> int:
        return 0 if self.live is None else len(self.rows) - int(np.count_nonzero(self.live))

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
                    room = _Room(size, self.dimensions)
                    parts.append(room.data[:0])
                count = min(len(added) - at, len(room.data) - room.used)
                room.data[room.used : room.used + count] = vectors[at : at + count]
                room.used += count
                parts[-1] = room.data[: room.used]
                at += count
        live = None if self.live is None else np.concatenate([self.live, np.ones(len(added), np.bool_)])
        return Matrix(self.dimensions, roll.extend(added), tuple(parts), live, room, roll)

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
            return self.parts[0][positions]
        out = np.empty((len(positions), self.dimensions), np.float32)
        start = 0
        for part in self.parts:
            here = (positions >= start) & (positions < start + len(part))
            out[here] = part[positions[here] - start]
            start += len(part)
        return out

    # ------------------------------------------------------------ search

    def search(
        self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """For each query (shape (n, dimensions)) the rows and inner products of the k best that are alive and in ``mask``
        (over positions), best first, ties by row."""
        keep = self.live if mask is None else mask if self.live is None else mask & self.live
        if not len(self.rows) or not self.dimensions or k < 1:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        chosen: NDArray[np.intp] | None = None
        if keep is not None:
            count = int(np.count_nonzero(keep))
            if count <= _DENSE * len(self.rows):
                chosen = np.flatnonzero(keep)
        if chosen is not None:
            return self._among(queries, k, chosen)
        out = []
        if len(queries) == 1:
            scores = np.empty(len(self.rows), np.float32)
            start = 0
            for part in self.parts:
                products(part, queries[0], scores[start : start + len(part)])
                start += len(part)
            if keep is not None:
                scores[~keep] = -np.inf
            return [self._best(scores, k, None)]
        step = max(1, 8_000_000 // max(1, len(self.rows)))  # 32 MB of scores at a time
        for first in range(0, len(queries), step):
            block = queries[first : first + step]
            table = np.empty((len(block), len(self.rows)), np.float32)
            start = 0
            for part in self.parts:
                table[:, start : start + len(part)] = block @ part.T
                start += len(part)
            if keep is not None:
                table[:, ~keep] = -np.inf
            out += [self._settle(scores, query, k, None) for scores, query in zip(table, block, strict=True)]
        return out

    def _among(
        self, queries: NDArray[np.float32], k: int, chosen: NDArray[np.intp]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        if not len(chosen):
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        vectors = self.gather(chosen)
        if len(queries) == 1:
            scores = np.empty(len(chosen), np.float32)
            products(vectors, queries[0], scores)
            return [self._best(scores, k, chosen)]
        step = max(1, 8_000_000 // len(chosen))
        return [
            self._settle(scores, query, k, chosen)
            for first in range(0, len(queries), step)
            for scores, query in zip(
                queries[first : first + step] @ vectors.T, queries[first : first + step], strict=True
            )
        ]

    def _settle(
        self, scores: NDArray[np.float32], query: NDArray[np.float32], k: int, chosen: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of scores that came out of a product of matrices, whose last bits depend on the queries beside this one:
        what could be among them is multiplied anew as a single query's is, so that both give the same."""
        first = best(scores, k)
        if not len(first):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        places = np.flatnonzero(scores >= scores[first[-1]] - np.float32(1e-5))
        where = places if chosen is None else chosen[places]
        again = np.empty(len(places), np.float32)
        products(self.gather(where), query, again)
        order = np.argsort(-again, kind="stable")[:k]
        return self.rows[where[order]], again[order]

    def _best(
        self, scores: NDArray[np.float32], k: int, chosen: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        places = best(scores, k)
        found = scores[places]
        if chosen is not None:
            places = chosen[places]
        return self.rows[places], found

    # ------------------------------------------------------------ side file

    def save(self, path: Path, generation: int, watermark: int, key: str) -> None:
        """Write the living rows to a side file, whole or not at all, with the generation it shows, the highest row there was
        then, and the key of its collection. It is derived, so it is not synced: what a power cut leaves of it fails its
        checksum and is made again. Raises OSError."""
        rows = self.rows if self.live is None else self.rows[self.live]
        with atomic_write(path, durable=False) as part, part.open("wb") as stream:
            stream.write(b"\0" * _HEADER)
            total = zlib.crc32(_raw(rows))
            stream.write(_raw(rows))
            start = 0
            for block in self.parts:
                data = block if self.live is None else block[self.live[start : start + len(block)]]
                total = zlib.crc32(_raw(data), total)
                stream.write(_raw(data))
                start += len(block)
            head = {
                "format": FORMAT,
                "key": key,
                "generation": generation,
                "watermark": watermark,
                "rows": len(rows),
                "dimensions": self.dimensions,
                "sum": total,
            }
            text = json.dumps(head).encode()
            seal = f"{zlib.crc32(text):08x}\n".encode()
            stream.seek(0)
            stream.write(seal + text)

    @classmethod
    def load(cls, path: Path, dimensions: int, key: str) -> tuple[Matrix, int, int] | None:
        """The matrix of a side file (mapped), its generation and watermark; None when the file is not there, is another
        collection's, or is not what was written."""
        try:
            with path.open("rb") as stream:
                header = stream.read(_HEADER)
                seal, _, rest = header.partition(b"\n")
                text = rest.rstrip(b"\0")
                if int(seal, 16) != zlib.crc32(text):
                    return None
                head = json.loads(text)
                size = os.fstat(stream.fileno()).st_size
                count = head["rows"]
                if (
                    head["format"] != FORMAT
                    or head["dimensions"] != dimensions
                    or head["key"] != key
                    or size != _HEADER + count * (8 + 4 * dimensions)
                ):
                    return None
                if not count:
                    return cls.empty(dimensions), head["generation"], head["watermark"]
                data = np.memmap(stream, np.uint8, "r", _HEADER)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        raw = np.asarray(data)
        if zlib.crc32(_raw(raw)) != head["sum"]:
            return None
        rows = raw[: 8 * count].view(np.int64)
        vectors = raw[8 * count :].view(np.float32).reshape(count, dimensions) if dimensions else None
        parts = (vectors,) if vectors is not None else ()
        return cls(dimensions, rows, parts), head["generation"], head["watermark"]


def products(
    vectors: NDArray[np.float32], query: NDArray[np.float32], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Inner products of one query. ``vecdot`` calls BLAS a row at a time, so on one thread: one product of a matrix and a
    vector is split among BLAS's threads, which wait for each other; on a busy machine that took 15 ms instead of 0.7."""
    found: NDArray[np.float32] = np.vecdot(vectors, query, out=out)
    return found


def _raw(array: NDArray[Any]) -> memoryview:
    """The bytes of an array, without a copy where it lies in one piece."""
    return np.ascontiguousarray(array).reshape(-1).data.cast("B") if array.size else memoryview(b"")


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Positions of the k highest scores, best first, ties by position; those at minus infinity are left out.

    The maxima of blocks of 64 give a threshold that at most a few more than k scores reach: the k-th highest of the maxima
    cannot be above the k-th highest score. An order of magnitude faster than ``argpartition`` on 20,000 scores.
    """
    count = len(scores)
    whole = count // _BLOCK
    if k < whole:
        maxima = scores[: whole * _BLOCK].reshape(whole, _BLOCK).max(axis=1)
        threshold = np.partition(maxima, whole - k)[whole - k]
        places = np.flatnonzero(scores >= threshold)
    else:
        places = np.arange(count)
    if len(places) > 8 * k + 64:
        threshold = np.partition(scores[places], len(places) - k)[len(places) - k]
        places = places[scores[places] >= threshold]
    order = np.argsort(-scores[places], kind="stable")[:k]
    places = places[order]
    return places[scores[places] > -np.inf]
