"""Qdrant through its official client (REST). A point's id is a UUID made of ours, which stands in its payload.

Qdrant has no transactions over several requests: rows are sent in lots, an ``add`` looks first whether an id is there,
and when the server fails between two lots the first ones are there (``add`` the rest, or ``upsert`` all again).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlunsplit

from rung.core.errors import AuthError, InputError, ServerError, StoreError, Unsupported
from rung.core.protocols import Filter
from rung.core.system.extras import require
from rung.models.providers.access import server_key
from rung.retrieval.filter.conditions import Combination, Condition, Scalar, check, clean
from rung.retrieval.index.check import check_new, lots
from rung.retrieval.index.server import Hits, ServerIndex, read_url
from rung.retrieval.index.spec import Backend, IndexSpec, read_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_SPACE = uuid.UUID("6f2d3c1e-5b0a-4c59-9a57-2f6d1f0a7e11")


@dataclass(frozen=True, slots=True)
class QdrantOptions:
    """``m``, ``build``, ``ef``: links and candidates of HNSW. ``exact``: scan instead. ``timeout``: seconds a
    request may take."""

    m: int = 16
    build: int = 100
    ef: int = 64
    exact: bool = False
    timeout: float = 10.0


class QdrantIndex(ServerIndex):
    def __init__(self, spec: IndexSpec, url: str, collection: str, options: QdrantOptions, dimensions: int) -> None:
        super().__init__(spec, dimensions)
        client: Any = require("qdrant_client", "qdrant", "the index qdrant")
        self._models = client.models
        self._failures = require("qdrant_client.http.exceptions", "qdrant", "the index qdrant")
        self._client: Any = client.QdrantClient(
            url=url,
            timeout=max(1, round(options.timeout)),
            api_key=server_key(url, "QDRANT_API_KEY"),
            check_compatibility=False,
        )
        self._url = url
        self._collection = collection
        self._options = options
        self._exists()

    def _count(self) -> int:
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
        if size != self.dimensions or vectors.distance != self._models.Distance.DOT:
            raise InputError(
                f"the Qdrant collection {self._collection!r} holds vectors of size {size}"
                f" ({getattr(vectors, 'distance', vectors)}), expected {self.dimensions} (Dot)",
                remedy="use the embedder that it was built with, or name another collection",
            )
        return True

    def _make(self) -> None:
        models = self._models
        try:
            self._try(
                lambda: self._client.create_collection(
                    self._collection,
                    vectors_config=models.VectorParams(size=self.dimensions, distance=models.Distance.DOT),
                    hnsw_config=models.HnswConfigDiff(m=self._options.m, ef_construct=self._options.build),
                )
            )
        except StoreError:
            if not self._inspect():  # else another made it at the same time
                raise

    def _cell(self, id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        return payload(id, metadata)

    def _write(
        self, ids: Sequence[str], rows: NDArray[np.float32], cells: Sequence[dict[str, Any]], *, new: bool
    ) -> None:
        if new:
            check_new(ids, self._found(ids))
        models = self._models
        for part in lots(len(ids), max(1, (2 << 20) // (8 * self.dimensions))):
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

    def _delete(self, ids: Sequence[str]) -> int:
        there = list(self._found(ids))
        for part in lots(len(there), 1000):
            names = self._models.PointIdsList(points=[point(name) for name in there[part]])
            self._try(lambda: self._client.delete(self._collection, points_selector=names, wait=True))  # noqa: B023
        return len(there)

    def _condition(self, where: Filter | None) -> Any:
        return self._models.Filter.model_validate(as_qdrant(where)) if check(where).parts else None

    def _search(self, queries: NDArray[np.float32], k: int, condition: Any) -> list[Hits]:
        models = self._models
        settings = models.SearchParams(hnsw_ef=max(self._options.ef, k), exact=self._options.exact)
        out: list[Hits] = []
        for part in lots(len(queries), 100):
            asked = [
                models.QueryRequest(query=query, filter=condition, params=settings, limit=k, with_payload=["id"])
                for query in queries[part].tolist()
            ]
            found = self._try(lambda: self._client.query_batch_points(self._collection, requests=asked))  # noqa: B023
            out += [[(hit.payload["id"], float(hit.score)) for hit in answer.points] for answer in found]
        return out

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


def open_qdrant(spec: IndexSpec, folder: Path, dimensions: int) -> QdrantIndex:
    parts, steps = read_url(spec, ("http", "https"), 0, "qdrant:http://host:6333/collection")
    url = urlunsplit((parts.scheme, parts.netloc, "/".join(steps[:-1]), "", ""))
    if parts.port is None:  # the client would take its own default for a URL without one
        url = url.replace(parts.netloc, f"{parts.netloc}:{443 if parts.scheme == 'https' else 6333}", 1)
    return QdrantIndex(spec, url, steps[-1], read_options(spec, QdrantOptions), dimensions)


# ---------------------------------------------------------------- filters


def as_qdrant(where: Filter | None, under: str = "metadata") -> dict[str, Any]:
    """The filter as Qdrant's (REST form), over the payload's object ``under``.

    Raises Unsupported for a range over texts that are not ISO 8601 dates: Qdrant compares numbers and dates only.
    """
    return {"must": [_qdrant(check(where), under)]}


def _qdrant(node: Condition | Combination, under: str) -> dict[str, Any]:
    if isinstance(node, Combination):
        parts = [_qdrant(part, under) for part in node.parts]
        if not parts:
            return {"has_id": []} if node.any else {"must": []}
        return {"should" if node.any else "must": parts}
    path = f'{under}."{node.field}"'
    if node.operator == "exists":
        missing = {"is_empty": {"key": path}}
        return {"must_not": [missing]} if node.value else missing
    if node.operator in ("eq", "ne"):
        equal = _qdrant_equal(path, node.value)
        return {"must_not": [equal]} if node.operator == "ne" else equal
    if node.operator == "in":
        texts = [item for item in node.value if isinstance(item, str)]
        parts = [_qdrant_equal(path, item) for item in node.value if not isinstance(item, str)]
        parts += [{"key": path, "match": {"any": texts}}] if texts else []
        return {"should": parts} if parts else {"has_id": []}
    if isinstance(node.value, str) and not _is_date(node.value):
        raise Unsupported(
            f"Qdrant compares numbers and dates, not texts: {node.field} {node.operator} {node.value!r}",
            remedy="keep a number or an ISO 8601 date in that field, or use another index",
            code="unsupported-filter",
        )
    return {"key": path, "range": {node.operator: node.value}}


def _qdrant_equal(path: str, value: Scalar) -> dict[str, Any]:
    # Qdrant's match knows no floats, and 2020 is 2020.0 here: numbers are matched as a range of one value.
    if isinstance(value, str | bool):
        return {"key": path, "match": {"value": value}}
    return {"key": path, "range": {"gte": value, "lte": value}}


def _is_date(text: str) -> bool:
    from datetime import datetime

    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


BACKEND = Backend(open_qdrant, sweep={"qdrant": ("ef", (16, 64, 128, 256))})
