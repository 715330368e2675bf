"""Annoy: a forest of random splits, built once and then read only.

It cannot grow. Rows that come after a build wait in a matrix that is searched exactly beside the forest; the forest is
built again by the flush that finds more than a tenth of the rows (and 1000) waiting, and deletions are left out of its
hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.retrieval.index.backends.exact import ExactEngine
from rung.retrieval.index.local import LocalIndex
from rung.retrieval.index.spec import Backend, IndexSpec, read_options, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Hits


@dataclass(frozen=True, slots=True)
class AnnoyOptions:
    """``trees`` in the forest; ``nodes`` looked at in a search (0: trees x k, Annoy's own default)."""

    trees: int = 50
    nodes: int = 0


class AnnoyEngine(ExactEngine):
    """A forest over the first ``built`` rows of the matrix."""

    exact = False
    masks = False

    def __init__(self, options: AnnoyOptions, dimensions: int) -> None:
        super().__init__(dimensions)
        self._annoy: Any = require("annoy", "annoy", "the index annoy")
        self.options = options
        self.forest: Any = None
        self.built = 0

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> list[Hits]:
        fresh: list[Hits] = []
        if self.built < len(self):
            fresh = self.matrix.search(queries, k, np.arange(len(self)) >= self.built, ties=True)
        if not self.built:
            return fresh
        out: list[Hits] = []
        for at, query in enumerate(queries):
            names, distances = self.forest.get_nns_by_vector(query, min(k, self.built), self.options.nodes or -1, True)
            # Annoy's angular distance is that of unit vectors: sqrt(2 - 2 cos).
            rows = np.array(names, np.int64)
            scores = (1 - np.square(np.array(distances)) / 2).astype(np.float32)
            if fresh:
                rows, scores = np.concatenate([rows, fresh[at][0]]), np.concatenate([scores, fresh[at][1]])
                order = np.argsort(-scores, kind="stable")[:k]
                rows, scores = rows[order], scores[order]
            out.append((rows, scores))
        return out

    def settle(self) -> None:
        if len(self) - self.built <= max(1000, self.built // 10):
            return
        forest = self._annoy.AnnoyIndex(self.matrix.dimensions, "angular")
        forest.set_seed(1)
        for row, vector in enumerate(row for part in self.matrix.parts for row in part):
            forest.add_item(row, vector)
        forest.build(self.options.trees, threads())
        self.forest, self.built = forest, len(self)

    def save(self, stem: Path) -> list[Path]:
        head, trees = stem.with_suffix(".annoy.rows"), stem.with_suffix(".annoy")
        head.write_text(str(self.built))
        if self.built and not self.forest.save(str(trees)):
            raise OSError(f"Annoy could not write {trees}")
        return [*super().save(stem), head, *([trees] if self.built else [])]

    def load(self, stem: Path) -> None:
        super().load(stem)
        self.built = int(stem.with_suffix(".annoy.rows").read_text())
        if self.built:
            trees = stem.with_suffix(".annoy")
            trees.stat()
            self.forest = self._annoy.AnnoyIndex(self.matrix.dimensions, "angular")
            self.forest.load(str(trees))
            if self.forest.get_n_items() != self.built:
                raise ValueError(f"{trees.name} holds {self.forest.get_n_items()} rows, expected {self.built}")


def open_annoy(spec: IndexSpec, folder: Path, dimensions: int) -> LocalIndex:
    if spec.what:
        raise InputError(f"annoy has no kinds, got {spec.what!r}", remedy="type annoy or annoy?trees=50")
    options = read_options(spec, AnnoyOptions)
    return LocalIndex(
        str(spec), f"annoy trees={options.trees}", lambda: AnnoyEngine(options, dimensions), folder, dimensions
    )


BACKEND = Backend(open_annoy, ("annoy",), sweep={"annoy": ("nodes", (100, 300, 1000, 3000, 10_000))})
