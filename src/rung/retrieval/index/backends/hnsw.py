"""HNSW graphs (Malkov & Yashunin 2016) through usearch: grows and shrinks row by row, kept as float16 by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rung.core.errors import InputError, StoreError
from rung.core.system.extras import require
from rung.retrieval.index.local import LocalIndex
from rung.retrieval.index.spec import Backend, IndexSpec, read_options, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Hits


@dataclass(frozen=True, slots=True)
class HnswOptions:
    """``m`` links a node, ``build`` and ``ef`` candidates looked at when a row is added and when one is searched.

    ``type``: how vectors are kept. f16 halves the memory at no loss that shows. i8 quarters it: vectors are turned by a
    random rotation, which changes no inner product and spreads every vector evenly over its numbers (as in RaBitQ, Gao
    & Long 2024), and each number becomes one of 255 steps over +-4 / sqrt(dimensions), where then nearly all lie.
    usearch's own i8 spreads the steps over +-1 and so wastes most of them.
    """

    m: int = 16
    build: int = 128
    ef: int = 64
    type: Literal["f32", "f16", "bf16", "i8"] = "f16"


class HnswEngine:
    exact = False
    masks = False
    forgets = True

    def __init__(self, options: HnswOptions, dimensions: int) -> None:
        self._usearch = require("usearch.index", "hnsw", "the index hnsw")
        self.options = options
        self.dimensions = dimensions
        self.index = self._open()
        self._rows = 0
        self._path: Path | None = None
        self._scale = 127 * dimensions**0.5 / 4 if options.type == "i8" else 0.0
        self._rotation = make_rotation(dimensions) if options.type == "i8" else None
        self._threads = threads()

    def _open(self) -> Any:
        options = self.options
        return self._usearch.Index(
            ndim=self.dimensions,
            metric="ip",
            dtype=options.type,
            connectivity=options.m,
            expansion_add=options.build,
            expansion_search=options.ef,
        )

    def __len__(self) -> int:
        return self._rows

    def _encode(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        if self._rotation is None:
            return vectors
        turned = vectors @ self._rotation
        turned *= np.float32(self._scale)
        np.rint(turned, out=turned)
        return np.clip(turned, -127, 127, out=turned).astype(np.int8)

    def _decode(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        products: NDArray[np.float32] = np.float32(1.0) - distances
        if self._scale:
            products *= np.float32(self._scale**-2)
        return products

    def append(self, vectors: NDArray[np.float32]) -> None:
        self._unmap()
        rows = np.arange(self._rows, self._rows + len(vectors), dtype=np.uint64)
        if len(vectors):
            self.index.add(rows, self._encode(vectors), threads=self._threads if len(vectors) > 8 else 1)
        self._rows += len(vectors)

    def discard(self, rows: Sequence[int]) -> None:
        self._unmap()
        self.index.remove(np.array(rows, np.uint64), threads=1)

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> list[Hits]:
        count = min(k, len(self.index))
        if not count:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        found = self.index.search(self._encode(queries), count, threads=self._threads if len(queries) > 1 else 1)
        keys = np.atleast_2d(found.keys).astype(np.int64)
        scores = np.atleast_2d(self._decode(found.distances))
        counts = getattr(found, "counts", None)
        if counts is None:  # usearch answers one query with its matches alone
            counts = [len(keys[0])]
        # A line that found fewer is filled up with rubbish behind its count.
        return [(rows[:n], values[:n]) for rows, values, n in zip(keys, scores, counts, strict=True)]

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(rows):
            return np.zeros((0, self.dimensions), np.float32)
        kind = np.int8 if self._scale else np.float32
        # A deleted row's place comes back as None where it is asked for; nobody above asks.
        found = self.index.get(rows.astype(np.uint64), dtype=kind)
        if isinstance(found, list) and any(one is None for one in found):
            raise StoreError("the index is damaged: it lacks rows", remedy="delete its folder and build it again")
        kept = np.asarray(found).reshape(len(rows), self.dimensions)
        out: NDArray[np.float32] = kept.astype(np.float32, copy=False)
        if self._rotation is not None:
            out = np.asarray((out / np.float32(self._scale)) @ self._rotation.T, np.float32)
        return out

    def settle(self) -> None:
        pass

    def save(self, stem: Path) -> list[Path]:
        self._unmap()
        path, head = stem.with_suffix(".usearch"), stem.with_suffix(".usearch.rows")
        self.index.save(str(path))
        head.write_text(str(self._rows))
        if self._rotation is None:
            return [path, head]
        turn = stem.with_suffix(".rotation.npy")
        with turn.open("wb") as stream:
            np.save(stream, self._rotation)
        return [path, head, turn]

    def load(self, stem: Path) -> None:
        """Map the file: a search reads the pages it needs. The first write loads it whole."""
        path = stem.with_suffix(".usearch")
        path.stat()
        self._rows = int(stem.with_suffix(".usearch.rows").read_text())
        if self._rotation is not None:  # the one it was built with: another NumPy may draw other numbers
            self._rotation = np.load(stem.with_suffix(".rotation.npy"), allow_pickle=False)
            if self._rotation.shape != (self.dimensions, self.dimensions):
                raise ValueError(f"the rotation has shape {self._rotation.shape}")
        self.index = self._open()
        self.index.view(str(path))
        self.index.expansion_search = self.options.ef
        self._path = path

    def _unmap(self) -> None:
        if self._path is not None:
            path, self._path = self._path, None
            self.index = self._open()
            self.index.load(str(path))
            self.index.expansion_add = self.options.build
            self.index.expansion_search = self.options.ef


def make_rotation(dimensions: int) -> NDArray[np.float32]:
    """A random orthogonal matrix of shape (dimensions, dimensions), always the same one."""
    q, r = np.linalg.qr(np.random.default_rng(0).standard_normal((dimensions, dimensions)))
    rotation: NDArray[np.float32] = (q * np.sign(np.diag(r))).astype(np.float32)
    return rotation


def open_hnsw(spec: IndexSpec, folder: Path, dimensions: int) -> LocalIndex:
    if spec.what:
        raise InputError(f"hnsw has no kinds, got {spec.what!r}", remedy="type hnsw or hnsw?m=16&ef=64")
    options = read_options(spec, HnswOptions)
    layout = f"hnsw m={options.m} {options.type}"
    return LocalIndex(str(spec), layout, lambda: HnswEngine(options, dimensions), folder, dimensions)


BACKEND = Backend(open_hnsw, ("hnsw", "hnsw?type=i8"), sweep={"hnsw": ("ef", (16, 32, 64, 128, 256))})
