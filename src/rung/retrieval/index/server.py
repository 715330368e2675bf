"""What every index on a server does around the server's own calls: check what it is given, make the table on the
first write, answer with nothing while there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from rung.core.errors import InputError
from rung.core.protocols import Filter
from rung.retrieval.index.check import check_queries, check_rows
from rung.retrieval.index.spec import IndexSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Hits = list[tuple[str, float]]


class ServerIndex(ABC):
    """``name`` is the index's string form without a password. Subclasses call ``__init__`` first."""

    def __init__(self, spec: IndexSpec, dimensions: int) -> None:
        self.name = spec.shown
        self.dimensions = dimensions
        self._there = False

    # What a server answers; each raises ServerError, AuthError or StoreError.

    @abstractmethod
    def _inspect(self) -> bool:
        """Is the table there? Raises InputError when it holds other vectors than ours."""

    @abstractmethod
    def _make(self) -> None:
        """Make the table; another may make it at the same time."""

    @abstractmethod
    def _count(self) -> int: ...

    @abstractmethod
    def _cell(self, id: str, metadata: Mapping[str, Any]) -> Any:
        """A row's metadata as the server keeps them. Raises InputError for what it cannot hold."""

    @abstractmethod
    def _write(self, ids: Sequence[str], rows: NDArray[np.float32], cells: Sequence[Any], *, new: bool) -> None:
        """Write rows. ``new``: raises InputError for an id that is there, and then leaves no row."""

    @abstractmethod
    def _delete(self, ids: Sequence[str]) -> int: ...

    @abstractmethod
    def _search(self, queries: NDArray[np.float32], k: int, condition: Any) -> list[Hits]: ...

    @abstractmethod
    def _condition(self, where: Filter | None) -> Any:
        """The filter in the server's language. Raises InputError or Unsupported."""

    @abstractmethod
    def close(self) -> None: ...

    # The protocol of an index.

    def _exists(self) -> bool:
        self._there = self._there or self._inspect()
        return self._there

    def __len__(self) -> int:
        return self._count() if self._exists() else 0

    def add(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._put(ids, vectors, metadata, new=True)

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._put(ids, vectors, metadata, new=False)

    def _put(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        metadata: Sequence[Mapping[str, Any]] | None,
        *,
        new: bool,
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self.dimensions)
        cells = [self._cell(id, item) for id, item in zip(ids, metadata or [{}] * len(ids), strict=True)]
        if len(ids):
            if not self._exists():
                self._make()
                self._there = True
            self._write(ids, rows, cells, new=new)

    def delete(self, ids: Sequence[str]) -> int:
        return self._delete(list(dict.fromkeys(ids))) if len(ids) and self._exists() else 0

    def search(self, vectors: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Hits]:
        queries = check_queries(vectors, self.dimensions, k)
        condition = self._condition(where)
        found = self._search(queries, k, condition) if self._exists() else [[] for _ in queries]
        return [sorted(hits, key=lambda hit: (-hit[1], hit[0])) for hits in found]

    def flush(self) -> None:  # noqa: B027  a default
        """Nothing is left to do where every write waited until the server had it."""


def read_url(spec: IndexSpec, schemes: Sequence[str], steps: int, example: str) -> tuple[SplitResult, list[str]]:
    """The URL of a spec and the steps of its path, of which there must be ``steps`` or, for 0, at least one."""
    parts = urlsplit(spec.what)
    path = [step for step in parts.path.split("/") if step]
    if parts.scheme not in schemes or not parts.hostname or not path or (steps and len(path) != steps):
        raise InputError(f"the index {spec.shown!r} does not name a server and a place on it", remedy=f"type {example}")
    return parts, path
