"""Exact search: every vector is compared, with NumPy. Recall is 1 by construction; 20 000 x 256 take half a
millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.retrieval.index.local import LocalIndex
from rung.retrieval.index.matrix import Matrix, Precision
from rung.retrieval.index.spec import Backend, IndexSpec, read_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.retrieval.index.matrix import Hits


@dataclass(frozen=True, slots=True)
class ExactOptions:
    """``type``: f32, or f16 (half the memory, rounded to about 3 digits, several times slower to scan)."""

    type: Precision = "f32"


class ExactEngine:
    """A matrix whose row numbers are its positions."""

    exact = True
    masks = True
    forgets = False

    def __init__(self, dimensions: int, precision: Precision = "f32") -> None:
        self.matrix = Matrix.empty(dimensions, precision)

    def __len__(self) -> int:
        return len(self.matrix)

    def append(self, vectors: NDArray[np.float32]) -> None:
        self.matrix = self.matrix.extend(np.arange(len(self), len(self) + len(vectors)), vectors)

    def discard(self, rows: Sequence[int]) -> None:
        pass

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None) -> list[Hits]:
        return self.matrix.search(queries, k, allowed, ties=True)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.matrix.gather(rows)

    def settle(self) -> None:
        pass

    def save(self, stem: Path) -> list[Path]:
        path = stem.with_suffix(".vectors")
        self.matrix.save(path)
        return [path]

    def load(self, stem: Path) -> None:
        self.matrix, _ = Matrix.load(stem.with_suffix(".vectors"), self.matrix.dimensions, self.matrix.precision)


def open_exact(spec: IndexSpec, folder: Path, dimensions: int) -> LocalIndex:
    if spec.what:
        raise InputError(f"exact has no kinds, got {spec.what!r}", remedy="type exact or exact?type=f16")
    options = read_options(spec, ExactOptions)
    return LocalIndex(
        str(spec), f"exact {options.type}", lambda: ExactEngine(dimensions, options.type), folder, dimensions
    )


BACKEND = Backend(open_exact, ("exact",))
