"""Vectors as one matrix that grows: kept as float32 or float16, mapped from its file until it is written to, scanned exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rung.retrieval.index.snapshot import best, products

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["f32", "f16"]
_SHORT = 2048  # scores a query below which it is faster to choose for all queries at once than for one at a time
_BLOCK = 1 << 22  # numbers that a block of a scan holds: 16 MB of float32


class Matrix:
    """Rows of ``dimensions`` numbers. Readers may scan while one writer appends: they see the rows there were."""

    def __init__(self, dimensions: int, precision: Precision = "f32") -> None:
        self.dimensions = dimensions
        self.precision = precision
        self._data: NDArray[np.floating] = np.empty((0, dimensions), np.float32 if precision == "f32" else np.float16)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def data(self) -> NDArray[np.floating]:
        """The rows as they are kept, shape (rows, dimensions); not to be written to."""
        return self._data[: self._rows]

    def append(self, vectors: NDArray[np.float32]) -> None:
        rows = self._rows + len(vectors)
        if rows > len(self._data) or not self._data.flags.writeable:
            # A first load is kept as it is; what grows row by row doubles, so that n appends copy O(n) rows.
            grown = np.empty((rows if not self._rows else max(rows, self._rows * 2), self.dimensions), self._data.dtype)
            grown[: self._rows] = self.data
            self._data = grown
        self._data[self._rows : rows] = vectors
        self._rows = rows

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        taken = self.data[rows]
        return taken if taken.dtype == np.float32 else taken.astype(np.float32)

    def scan(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | slice | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best rows for each query by inner product among ``rows`` (None: all), best first, and every row that ties with
        the k-th, so that the caller can break ties. Shapes (queries, >= k); short lists end in row -1."""
        data = self.data
        offset = 0
        if isinstance(rows, slice):
            offset, data, rows = rows.start or 0, data[rows], None
        count = len(data) if rows is None else len(rows)
        step = count if data.dtype == np.float32 and rows is None else max(1, _BLOCK // self.dimensions)
        out: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        for start in range(0, count, max(1, step)):
            if rows is None:
                block = data[start : start + step]
                names = None
            else:
                names = rows[start : start + step]
                block = data[names]
            if block.dtype != np.float32:
                block = block.astype(np.float32)
            # Many queries over many rows: at most 64 MB of scores at once.
            lots = max(1, (1 << 24) // max(1, len(block)))
            parts = [
                top(
                    products(block, queries[0])[None] if len(queries) == 1 else queries[at : at + lots] @ block.T,
                    k,
                    names,
                    offset + start,
                )
                for at in range(0, len(queries), lots)
            ]
            found = parts[0] if len(parts) == 1 else stack(parts)
            out = found if out is None else merge(out, found, k)
        if out is None:
            return np.full((len(queries), 0), -1, np.int64), np.zeros((len(queries), 0), np.float32)
        return out

    def save(self, path: Path) -> None:
        with path.open("wb") as stream:
            np.save(stream, self.data)

    @classmethod
    def load(cls, path: Path, dimensions: int, precision: Precision) -> Matrix:
        """Map the file; its pages are read as they are needed. Raises ValueError when it holds something else."""
        # An empty array cannot be mapped.
        header = 128
        data = np.load(path, mmap_mode="r" if path.stat().st_size > header else None, allow_pickle=False)
        out = cls(dimensions, precision)
        if data.ndim != 2 or data.shape[1] != dimensions or data.dtype != out._data.dtype:
            raise ValueError(
                f"{path.name} holds {data.dtype} of shape {data.shape}, expected (n, {dimensions}) {precision}"
            )
        out._data, out._rows = data, len(data)
        return out


def top(
    scores: NDArray[np.float32], k: int, names: NDArray[np.int64] | None, offset: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best columns of each line, best first, with all that tie with the k-th; ``names`` renames columns, else
    ``offset`` is added."""
    count = scores.shape[1]
    if len(scores) > 1 and count < _SHORT:
        chosen = np.broadcast_to(np.arange(count), scores.shape)
        if count > k:
            chosen = np.argpartition(scores, count - k, axis=1)[:, count - k :]
            least = np.take_along_axis(scores, chosen, 1).min(axis=1, keepdims=True)
            width = int(np.count_nonzero(scores >= least, axis=1).max())
            if width > k:  # more rows tie at the end than there is place for
                chosen = np.argpartition(scores, count - width, axis=1)[:, count - width :]
        return _cut(chosen + offset if names is None else names[chosen], np.take_along_axis(scores, chosen, 1), k)
    found = [_best(line, k) for line in scores]
    width = max(map(len, found), default=0)
    rows, values = np.full((len(scores), width), -1, np.int64), np.full((len(scores), width), -np.inf, np.float32)
    for at, own in enumerate(found):
        rows[at, : len(own)] = own + offset if names is None else names[own]
        values[at, : len(own)] = scores[at, own]
    return rows, values


def _best(line: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    places = best(line, k)
    if len(places) == k and np.count_nonzero(line >= line[places[-1]]) > k:
        places = np.flatnonzero(line >= line[places[-1]])
        places = places[np.argsort(-line[places], kind="stable")]
    return places


def stack(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Results of several lots of queries as one; narrower ones are filled up with row -1."""
    width = max(rows.shape[1] for rows, _ in parts)
    count = sum(len(rows) for rows, _ in parts)
    names, values = np.full((count, width), -1, np.int64), np.full((count, width), -np.inf, np.float32)
    at = 0
    for rows, scores in parts:
        names[at : at + len(rows), : rows.shape[1]] = rows
        values[at : at + len(rows), : rows.shape[1]] = scores
        at += len(rows)
    return names, values


def merge(
    left: tuple[NDArray[np.int64], NDArray[np.float32]], right: tuple[NDArray[np.int64], NDArray[np.float32]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of two results for the same queries, with ties at the end."""
    return _cut(np.concatenate([left[0], right[0]], axis=1), np.concatenate([left[1], right[1]], axis=1), k)


def _cut(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    order = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    if rows.shape[1] > k:
        width = max(k, int(np.count_nonzero((scores >= scores[:, k - 1 : k]) & (rows >= 0), axis=1).max()))
        rows, scores = rows[:, :width], scores[:, :width]
    return rows, scores
