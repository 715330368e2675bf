"""Exact search: every vector is compared, with NumPy. Recall is 1 by construction; 20 000 x 256 take half a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rung.core.errors import InputError
from rung.retrieval.index.local import LocalIndex
from rung.retrieval.index.matrix import Matrix
from rung.retrieval.index.spec import Spec, read_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ExactOptions:
    """``type``: f32, or f16 (half the memory, rounded to about 3 digits, several times slower to scan)."""

    type: Literal["f32", "f16"] = "f32"


class ExactEngine:
    masks = True
    forgets = False
    exact = True
    spare = 0.25

    def __init__(self, options: ExactOptions, dimensions: int) -> None:
        self.options = options
        self.matrix = Matrix(dimensions, options.type)

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

        return self.matrix.scan(queries, k, None if allowed is None else np.flatnonzero(allowed))

    def search_one(self, query: NDArray[np.float32], k: int) -> tuple[list[int], list[float]]:
        rows, scores = self.search(query, k, None)
        return rows[0].tolist(), scores[0].tolist()

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.matrix.vectors(rows)

    def settle(self) -> None:
        pass

    def save(self, stem: Path) -> list[Path]:
        path = stem.with_suffix(".vectors.npy")
        self.matrix.save(path)
        return [path]

    def load(self, stem: Path) -> None:
        self.matrix = Matrix.load(stem.with_suffix(".vectors.npy"), self.matrix.dimensions, self.options.type)


def open_exact(spec: Spec, folder: Path, dimensions: int) -> LocalIndex:
    if spec.what:
        raise InputError(f"exact has no kinds, got {spec.what!r}", remedy="type exact or exact?type=f16")
    options = read_options(spec, ExactOptions)
    return LocalIndex(str(spec), f"exact {options.type}", lambda: ExactEngine(options, dimensions), folder, dimensions)
