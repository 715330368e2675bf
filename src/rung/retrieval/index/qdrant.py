"""Qdrant through its official client (REST). A point's id is a UUID made of ours, which stands in its payload.

Qdrant has no transactions over several requests: rows are sent in lots, an ``add`` looks first whether an id is there, and
when the server fails between two lots the first ones are there (``add`` the rest, or ``upsert`` all again).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from rung.core.errors import AuthError, InputError, ServerError, StoreError
from rung.core.extras import require
from rung.core.protocols import Filter
from rung.models.providers.access import server_key
from rung.retrieval.filter import as_qdrant, check, clean
from rung.retrieval.index.check import check_new, check_queries, check_rows, lots
from rung.retrieval.index.spec import Spec, read_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_SPACE = uuid.UUID("6f2d3c1e-5b0a-4c59-9a57-2f6d1f0a7e11")


@dataclass(frozen=True, slots=True)
class QdrantOptions:
    """``m``, ``build``, ``ef``: links and candidates of HNSW. ``exact``: scan instead. ``timeout``: seconds a request may take."""

    m: int = 16
    build: int = 100
    ef: int = 64
    exact: bool = False
    timeout: float = 10.0


class QdrantIndex:
    def __init__(self, spec: Spec, url: str, collection: str, options: QdrantOptions, dimensions: int) -> None:
        client: Any = require("qdrant_client", "qdrant", "the index qdrant")
        self._models = client.models
        self._failures = require("qdrant_client.http.exceptions", "qdrant", "the index qdrant")
        self._client: Any = client.QdrantClient(
            url=url,
            timeout=max(1, round(options.timeout)),
            api_key=server_key(url, "QDRANT_API_KEY"),
            check_compatibility=False,
        )
        self._name = spec.shown
        self._url = url
        self._collection = collection
        self._options = options
        self._dimensions = dimensions
        self._there = self._inspect()

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def __len__(self) -> int:
        if not self._there and not self._inspect():
            return 0
        return int(self._try(lambda: self._client.count(self._collection, exact=True)).count)

    def _try(self, work: Callable[[], T]) -> T:
        """Ask the server; its failures as ours."""
        try:
            return work()
        except self._failures.ResponseHandlingException as error:
            said = str(error) or type(error).__name__
            slow = "timed out" in said.lower() or "timeout" in said.lower()
            raise ServerError(
                f"Qdrant at {self._url} cannot be used: "
                + (f"no answer within {self._options.timeout:g} s" if slow else said),
                remedy="check that the server runs and the URL is right, then do it again"
                + ("; or add timeout=SECONDS to the index" if slow else ""),
            ) from None
        except self._failures.UnexpectedResponse as error:
            status = error.status_code or 0
            said = error.content.decode(errors="replace")[:300]
            if status in (401, 403):
                raise AuthError(
                    f"Qdrant at {self._url} refused the key ({status})",
                    remedy="set QDRANT_API_KEY to a key of that server",
                    status=status,
                ) from None
            if status >= 500 or status == 429:
                raise ServerError(
                    f"Qdrant at {self._url} failed ({status}): {said}", remedy="try again later", status=status
                ) from None
            raise StoreError(f"Qdrant at {self._url} refused the request ({status}): {said}") from None

    def _inspect(self) -> bool:
        if not self._try(lambda: self._client.collection_exists(self._collection)):
            return False
        vectors = self._try(lambda: self._client.get_collection(self._collection)).config.params.vectors
        size = getattr(vectors, "size", None)
        if size != self._dimensions or vectors.distance != self._models.Distance.DOT:
            raise InputError(
                f"the Qdrant collection {self._collection!r} holds vectors of size {size}"
                f" ({getattr(vectors, 'distance', vectors)}), expected {self._dimensions} (Dot)",
                remedy="use the embedder that it was built with, or name another collection",
            )
        self._there = True
        return True

    def _make(self) -> None:
        models = self._models
        try:
            self._try(
                lambda: self._client.create_collection(
                    self._collection,
                    vectors_config=models.VectorParams(size=self._dimensions, distance=models.Distance.DOT),
                    hnsw_config=models.HnswConfigDiff(m=self._options.m, ef_construct=self._options.build),
                )
            )
        except StoreError:
            if not self._inspect():  # else another made it at the same time
                raise
        self._there = True

    def add(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._write(ids, vectors, metadata, new=True)

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self._write(ids, vectors, metadata, new=False)

    def _write(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        metadata: Sequence[Mapping[str, Any]] | None,
        *,
        new: bool,
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self._dimensions)
        cells = [payload(name, item) for name, item in zip(ids, metadata or [{}] * len(ids), strict=True)]
        if not len(ids):
            return
        if not self._there and not self._inspect():
            self._make()
        elif new:
            check_new(ids, self._found(ids))
        models = self._models
        for part in lots(len(ids), max(1, (2 << 20) // (8 * self._dimensions))):
            points = [
                models.PointStruct(id=point(name), vector=row, payload=cell)
                for name, row, cell in zip(ids[part], rows[part].tolist(), cells[part], strict=True)
            ]
            self._try(lambda: self._client.upsert(self._collection, points=points, wait=True))  # noqa: B023

    def _found(self, ids: Sequence[str]) -> dict[str, None]:
        out: dict[str, None] = {}
        for part in lots(len(ids), 1000):
            names = [point(name) for name in ids[part]]
            records = self._try(
                lambda: self._client.retrieve(self._collection, names, with_payload=["id"], with_vectors=False)  # noqa: B023
            )
            out.update((record.payload["id"], None) for record in records)
        return out

    def delete(self, ids: Sequence[str]) -> int:
        if not len(ids) or (not self._there and not self._inspect()):
            return 0
        there = list(self._found(list(dict.fromkeys(ids))))
        for part in lots(len(there), 1000):
            names = self._models.PointIdsList(points=[point(name) for name in there[part]])
            self._try(lambda: self._client.delete(self._collection, points_selector=names, wait=True))  # noqa: B023
        return len(there)

    def search(
        self, vectors: NDArray[np.float32], k: int, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        queries = check_queries(vectors, self._dimensions, k)
        models = self._models
        condition = models.Filter.model_validate(as_qdrant(where)) if check(where).parts else None
        if not self._there and not self._inspect():
            return [[] for _ in queries]
        settings = models.SearchParams(hnsw_ef=max(self._options.ef, k), exact=self._options.exact)
        out: list[list[tuple[str, float]]] = []
        for part in lots(len(queries), 100):
            asked = [
                models.QueryRequest(query=query, filter=condition, params=settings, limit=k, with_payload=["id"])
                for query in queries[part].tolist()
            ]
            found = self._try(lambda: self._client.query_batch_points(self._collection, requests=asked))  # noqa: B023
            for answer in found:
                hits = [(hit.payload["id"], float(hit.score)) for hit in answer.points]
                out.append(sorted(hits, key=lambda hit: (-hit[1], hit[0])))
        return out

    def flush(self) -> None:
        """Nothing is left to do: every write waited until the server had it in its log."""

    def close(self) -> None:
        self._client.close()


def point(name: str) -> str:
    """The UUID under which an id is kept: Qdrant takes no other texts."""
    return str(uuid.uuid5(_SPACE, name))


def payload(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    cells = {field: list(cell) if isinstance(cell, tuple) else cell for field, cell in clean(metadata).items()}
    quoted = next((field for field in cells if '"' in field), None)
    if quoted is not None:
        raise InputError(f"the metadata field {quoted!r} holds a quote, which Qdrant's paths cannot name")
    return {"id": name, "metadata": cells}


def open_qdrant(spec: Spec, folder: Path, dimensions: int) -> QdrantIndex:
    parts = urlsplit(spec.what)
    steps = [step for step in parts.path.split("/") if step]
    if parts.scheme not in ("http", "https") or not parts.hostname or not steps:
        raise InputError(
            f"the index {spec.shown!r} does not name a server and a collection",
            remedy="type qdrant:http://host:6333/collection",
        )
    url = urlunsplit((parts.scheme, parts.netloc, "/".join(steps[:-1]), "", ""))
    if parts.port is None:  # the client would take its own default for a URL without one
        url = url.replace(parts.netloc, f"{parts.netloc}:{443 if parts.scheme == 'https' else 6333}", 1)
    return QdrantIndex(spec, url, steps[-1], read_options(spec, QdrantOptions), dimensions)
