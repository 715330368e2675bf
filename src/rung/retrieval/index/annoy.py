"""Annoy: a forest of random splits, built once and then read only.

It cannot grow. Rows that come after a build wait in a matrix that is searched exactly beside the forest; the forest is built
anew by the flush that finds more than a tenth of the rows (and 1000) waiting, and deletions are left out of its hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.core.extras import require
from rung.retrieval.index.local import LocalIndex
from rung.retrieval.index.matrix import Matrix, merge
from rung.retrieval.index.spec import Spec, read_options, threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AnnoyOptions:
    """``trees`` in the forest; ``nodes`` looked at in a search (0: trees x k, Annoy's own default)."""

    trees: int = 50
    nodes: int = 0


class AnnoyEngine:
    masks = False
    forgets = False
    exact = False
    spare = 0.25

    def __init__(self, options: AnnoyOptions, dimensions: int) -> None:
        self._annoy: Any = require("annoy", "annoy", "the index annoy")
        self.options = options
        self.dimensions = dimensions
        self.matrix = Matrix(dimensions)
        self.forest: Any = None
        self.built = 0

    def __len__(self) -> int:
        return len(self.matrix)

    def append(self, vectors: NDArray[np.float32]) -> None:
        self.matrix.append(vectors)

    def discard(self, rows: Sequence[int]) -> None:
        pass

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        import numpy as np

        waiting = len(self) - self.built
        found = None
        if self.built:
            count = min(k, self.built)
            nodes = self.options.nodes or -1
            rows = np.full((len(queries), count), -1, np.int64)
            scores = np.full((len(queries), count), -np.inf, np.float32)
            ask = self.forest.get_nns_by_vector
            for line, query in enumerate(queries):
                names, distances = ask(query, count, nodes, True)
                rows[line, : len(names)] = names
                scores[line, : len(names)] = distances
            # Annoy's angular distance is that of unit vectors: sqrt(2 - 2 cos).
            np.square(scores, out=scores, where=rows >= 0)
            np.subtract(1.0, scores * 0.5, out=scores, where=rows >= 0)
            found = rows, scores
        if waiting or found is None:
            fresh = self.matrix.scan(queries, k, slice(self.built, len(self)))
            found = fresh if found is None else merge(found, fresh, k)
        return found

    def search_one(self, query: NDArray[np.float32], k: int) -> tuple[list[int], list[float]]:
        if self.built < len(self) or k > self.built:
            rows, scores = self.search(query, k, None)
            return rows[0].tolist(), scores[0].tolist()
        names, distances = self.forest.get_nns_by_vector(query[0], k, self.options.nodes or -1, True)
        return names, [1.0 - 0.5 * distance * distance for distance in distances]

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.matrix.vectors(rows)

    def settle(self) -> None:
        if len(self) - self.built > max(1000, self.built // 10):
            self._build()

    def _build(self) -> None:
        forest = self._annoy.AnnoyIndex(self.dimensions, "angular")
        forest.set_seed(1)
        for row, vector in enumerate(self.matrix.data):
            forest.add_item(row, vector)
        forest.build(self.options.trees, threads())
        self.forest, self.built = forest, len(self)

    def save(self, stem: Path) -> list[Path]:
        vectors, head = stem.with_suffix(".vectors.npy"), stem.with_suffix(".annoy.rows")
        self.matrix.save(vectors)
        head.write_text(str(self.built))
        if not self.built:
            return [vectors, head]
        trees = stem.with_suffix(".annoy")
        if not self.forest.save(str(trees)):
            raise OSError(f"Annoy could not write {trees}")
        return [vectors, head, trees]

    def load(self, stem: Path) -> None:
        self.matrix = Matrix.load(stem.with_suffix(".vectors.npy"), self.dimensions, "f32")
        self.built = int(stem.with_suffix(".annoy.rows").read_text())
        if self.built:
            trees = stem.with_suffix(".annoy")
            trees.stat()
            self.forest = self._annoy.AnnoyIndex(self.dimensions, "angular")
            self.forest.load(str(trees))
            if self.forest.get_n_items() != self.built:
                raise ValueError(f"{trees.name} holds {self.forest.get_n_items()} rows, expected {self.built}")


def open_annoy(spec: Spec, folder: Path, dimensions: int) -> LocalIndex:
    if spec.what:
        raise InputError(f"annoy has no kinds, got {spec.what!r}", remedy="type annoy or annoy?trees=50")
    options = read_options(spec, AnnoyOptions)
    return LocalIndex(
        str(spec), f"annoy trees={options.trees}", lambda: AnnoyEngine(options, dimensions), folder, dimensions
    )
