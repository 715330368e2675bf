"""FAISS (Douze et al. 2024): flat, inverted lists (IVF), HNSW graphs, and product quantisation over inverted lists
(PQ).

Filters and deletions go into FAISS as an ``IDSelector``, so that hits are chosen among the rows that pass. FAISS cannot
take rows out of a graph, and taking them out of lists moves all others: deleted rows stay until half are dead, then a
flush builds anew (``compact()`` does so by hand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.retrieval.index.backends.exact import ExactEngine
from rung.retrieval.index.local import LocalIndex, padded
from rung.retrieval.index.spec import Backend, IndexSpec, read_options, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Hits


Kind = Literal["flat", "hnsw", "ivf", "pq"]


@dataclass(frozen=True, slots=True)
class FaissOptions:
    """``m``, ``build``, ``ef``: links and candidates of HNSW. ``lists``, ``probe``: inverted lists and how many a
    search reads (0: 4 sqrt(rows), at most 4096, and an eighth of the lists up to 64). ``type``: f32, f16 or i8 (8-bit
    scalar quantiser) for hnsw and ivf. ``bytes``: of a vector's PQ code (0: a quarter of the dimensions). ``rescore``:
    how many times k candidates PQ's hits are chosen from by their full vectors (0: none).
    """

    m: int = 32
    build: int = 80
    ef: int = 64
    lists: int = 0
    probe: int = 0
    type: Literal["f32", "f16", "i8"] = "f32"
    bytes: int = 0
    rescore: int = 10


_OPTIONS: dict[str, tuple[str, ...]] = {
    "flat": (),
    "hnsw": ("m", "build", "ef", "type"),
    "ivf": ("lists", "probe", "type"),
    "pq": ("lists", "probe", "bytes", "rescore"),
}
_TRAIN = 40  # rows a list that k-means is given: FAISS warns below 39


class FaissEngine:
    """One FAISS index. Those that must be trained keep their rows in a matrix, searched exactly, until there are
    enough."""

    masks = True
    forgets = False

    def __init__(self, kind: Kind, options: FaissOptions, dimensions: int) -> None:
        self._faiss: Any = require("faiss", "faiss", f"the index faiss:{kind}")
        self.kind = kind
        self.options = options
        self.dimensions = dimensions
        self.exact = kind == "flat"
        self._threads = threads()
        # What is not trained yet waits here; PQ keeps its rows here for good, as its codes do not give them back.
        self.raw: ExactEngine | None = ExactEngine(dimensions, "f16" if kind == "pq" else "f32")
        self.index: Any = None
        self.lists = 0
        self._learns = kind in ("ivf", "pq") or options.type == "i8"
        if not self._learns:
            self.raw = None
            self.index = self._open()

    def __len__(self) -> int:
        return int(self.index.ntotal) if self.index is not None else len(self.raw) if self.raw is not None else 0

    def _open(self) -> Any:
        faiss, options, d = self._faiss, self.options, self.dimensions
        product = faiss.METRIC_INNER_PRODUCT
        if self.kind == "flat":
            return faiss.IndexFlat(d, product)
        quantiser = {"f16": faiss.ScalarQuantizer.QT_fp16, "i8": faiss.ScalarQuantizer.QT_8bit}.get(options.type)
        if self.kind == "hnsw":
            if quantiser is None:
                index = faiss.IndexHNSWFlat(d, options.m, product)
            else:
                index = faiss.IndexHNSWSQ(d, quantiser, options.m, product)
            index.hnsw.efConstruction = options.build
            index.hnsw.efSearch = options.ef
            return index
        coarse = faiss.IndexFlat(d, product)
        if self.kind == "ivf" and quantiser is None:
            index = faiss.IndexIVFFlat(coarse, d, self.lists, product)
        elif self.kind == "ivf":
            index = faiss.IndexIVFScalarQuantizer(coarse, d, self.lists, quantiser, product)
        else:
            index = faiss.IndexIVFPQ(coarse, d, self.lists, self._code_bytes(), 8, product)
            index.pq.cp.niter = 10  # of k-means: FAISS's 25 take 2.5 times as long for the same recall
        index.cp.spherical = (
            True  # centroids of unit vectors, so that the nearest list is the one of the largest product
        )
        index.set_direct_map_type(faiss.DirectMap.Array)
        coarse.this.disown()
        index.own_fields = True
        return index

    def _code_bytes(self) -> int:
        wanted = self.options.bytes or max(1, self.dimensions // 4)
        if self.dimensions % wanted:
            raise InputError(
                f"faiss:pq cuts vectors into {wanted} parts, but {self.dimensions} dimensions are no multiple of that",
                remedy=f"type bytes={next(n for n in range(wanted, 0, -1) if self.dimensions % n == 0)}",
            )
        return wanted

    def append(self, vectors: NDArray[np.float32]) -> None:
        if not len(vectors):
            return
        if self.kind == "pq":
            self._code_bytes()
        if self.raw is not None:
            self.raw.append(vectors)
        if self.index is None:
            if len(self) >= self._needed():
                self._train()
        else:
            self._with_threads(len(vectors), lambda: self.index.add(vectors))

    def _needed(self) -> int:
        return max(_TRAIN * 256 if self.kind == "pq" else 1000, _TRAIN * self.options.lists)

    def _train(self) -> None:
        """Learn lists (and codes) from what is there and put it in; afterwards rows go into FAISS as they come."""
        assert self.raw is not None
        rows = len(self.raw)
        if self.kind == "hnsw":  # the range of each number's 8-bit steps
            self.index, count = self._open(), min(rows, 100_000)
        else:
            self.lists = self.options.lists or max(1, min(4096, int(4 * rows**0.5), rows // _TRAIN))
            self.index = self._open()
            self._set_probe()
            count = min(rows, max(_TRAIN * self.lists, _TRAIN * 256 if self.kind == "pq" else 0))
        sample = np.sort(np.random.default_rng(0).choice(rows, count, replace=False))
        learned = self.raw.vectors(sample)
        self._with_threads(count, lambda: self.index.train(learned))
        lot = max(1, (64 << 20) // (4 * self.dimensions))
        for start in range(0, rows, lot):
            block = self.raw.vectors(np.arange(start, min(rows, start + lot)))
            self._with_threads(len(block), lambda: self.index.add(block))  # noqa: B023
        if self.kind != "pq":
            self.raw = None

    def _set_probe(self) -> None:
        self.index.nprobe = min(self.lists, self.options.probe or max(1, min(64, self.lists // 8)))

    def _with_threads(self, count: int, work: Any) -> Any:
        """One thread for a single row or query (waking others costs more than it brings), all for many."""
        self._faiss.omp_set_num_threads(1 if count <= 8 else self._threads)
        return work()

    def discard(self, rows: Sequence[int]) -> None:
        pass

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> list[Hits]:
        if self.index is None:
            assert self.raw is not None
            return self.raw.search(queries, k, allowed)
        wide = min(len(self), k * self.options.rescore) if self.kind == "pq" and self.options.rescore else k
        # One thread for a single query: waking others costs more than it brings.
        self._faiss.omp_set_num_threads(1 if len(queries) <= 8 else self._threads)
        scores, rows = self.index.search(queries, wide, params=None if allowed is None else self._params(allowed))
        return padded(*(self._rescore(queries, k, rows) if wide > k else (rows, scores)))

    def _params(self, allowed: NDArray[np.bool_]) -> Any:
        faiss = self._faiss
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        share = max(1e-6, float(np.count_nonzero(allowed)) / len(allowed))
        if self.kind == "flat":
            params = faiss.SearchParameters(sel=selector)
        elif self.kind == "hnsw":
            # The walk passes through rows that are not allowed: look at more, so that as many allowed ones are seen.
            params = faiss.SearchParametersHNSW(sel=selector, efSearch=min(2048, int(self.options.ef / share)))
        else:
            probe = min(self.lists, int(self.index.nprobe / share**0.5))
            params = faiss.SearchParametersIVF(sel=selector, nprobe=probe)
        params.kept = (bits, selector)  # FAISS holds pointers into them
        return params

    def _rescore(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        assert self.raw is not None
        kept = self.raw.vectors(np.where(rows >= 0, rows, 0).reshape(-1)).reshape(*rows.shape, self.dimensions)
        scores = np.matmul(kept, queries[:, :, None])[:, :, 0]
        scores[rows < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.raw is not None:
            return self.raw.vectors(rows)
        out = np.empty((len(rows), self.dimensions), np.float32)
        if len(rows):
            self.index.reconstruct_batch(rows, out)
        return out

    def settle(self) -> None:
        """Lists learned from few rows are too few for many: learn anew at four times as many."""
        if self.index is None or self.options.lists or self.kind not in ("ivf", "pq"):
            return
        if max(1, min(4096, int(4 * len(self) ** 0.5), len(self) // _TRAIN)) < 2 * self.lists:
            return
        if self.raw is None:
            self.raw = ExactEngine(self.dimensions)
            lot = max(1, (64 << 20) // (4 * self.dimensions))
            rows = len(self)
            for start in range(0, rows, lot):
                block = np.empty((min(lot, rows - start), self.dimensions), np.float32)
                self.index.reconstruct_batch(np.arange(start, start + len(block)), block)
                self.raw.append(block)
        self.index = None
        self._train()

    def save(self, stem: Path) -> list[Path]:
        out = [] if self.raw is None else self.raw.save(stem)
        if self.index is not None:
            out.append(stem.with_suffix(".faiss"))
            self._faiss.write_index(self.index, str(out[-1]))
        return out

    def load(self, stem: Path) -> None:
        index = stem.with_suffix(".faiss")
        if self.raw is not None and (self.kind == "pq" or not index.exists()):
            self.raw.load(stem)
            if not index.exists():
                return
        else:
            self.raw = None
        self.index = self._faiss.read_index(str(index))
        if self.index.d != self.dimensions:
            raise ValueError(f"{index.name} holds {self.index.d} dimensions")
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = self.options.ef
            self.index.hnsw.efConstruction = self.options.build
        elif self.kind in ("ivf", "pq"):
            self.lists = int(self.index.nlist)
            self._set_probe()
            self.index.set_direct_map_type(self._faiss.DirectMap.Array)


def open_faiss(spec: IndexSpec, folder: Path, dimensions: int) -> LocalIndex:
    kind: Any = spec.what or "flat"
    if kind not in _OPTIONS:
        raise InputError(f"faiss has no kind {kind!r}", remedy=f"type faiss:{' or faiss:'.join(_OPTIONS)}")
    options = read_options(spec, FaissOptions, known=_OPTIONS[kind])
    built = replace(options, ef=0, probe=0, rescore=0, build=0)
    layout = f"faiss {kind} " + " ".join(f"{name}={getattr(built, name)}" for name in _OPTIONS[kind])
    return LocalIndex(str(spec), layout.strip(), lambda: FaissEngine(kind, options, dimensions), folder, dimensions)


BACKEND = Backend(
    open_faiss,
    ("faiss:flat", "faiss:hnsw", "faiss:ivf", "faiss:pq"),
    sweep={
        "faiss:hnsw": ("ef", (16, 32, 64, 128, 256)),
        "faiss:ivf": ("probe", (1, 2, 4, 8, 16, 32, 64)),
        "faiss:pq": ("probe", (1, 2, 4, 8, 16, 32, 64)),
    },
)
