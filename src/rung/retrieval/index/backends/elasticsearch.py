"""Elasticsearch through its official client: kNN over a dense_vector, and BM25 over texts that are given to it.

Elasticsearch has no transactions: an ``add`` looks first whether an id is there, then creates row by row (a row made by
somebody else in between is refused, and the rows of this call are taken back). What was written is in the translog,
synced, when the call returns; it is refreshed before the next search, so that it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from rung.core.errors import AuthError, InputError, ServerError, StoreError
from rung.core.protocols import Filter
from rung.core.system.extras import require
from rung.models.providers.access import server_key
from rung.retrieval.filter.conditions import Combination, Condition, Scalar, check, clean, typed
from rung.retrieval.index.check import check_new, lots
from rung.retrieval.index.server import Hits, ServerIndex, read_url
from rung.retrieval.index.spec import Backend, IndexSpec, read_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_WINDOW = 10_000  # hits and candidates that Elasticsearch gives at most
_LONGEST = 512  # bytes of an id


@dataclass(frozen=True, slots=True)
class ElasticsearchOptions:
    """``type``: hnsw, int8_hnsw (quantised), or flat (a scan). ``m``, ``build``, ``ef``: links and candidates of HNSW.
    ``analyzer``: how texts for BM25 are cut. ``timeout``: seconds that a request may take."""

    type: Literal["hnsw", "int8_hnsw", "flat"] = "hnsw"
    m: int = 16
    build: int = 100
    ef: int = 100
    analyzer: str = "standard"
    timeout: float = 10.0


class ElasticsearchIndex(ServerIndex):
    def __init__(self, spec: IndexSpec, url: str, index: str, options: ElasticsearchOptions, dimensions: int) -> None:
        super().__init__(spec, dimensions)
        package: Any = require("elasticsearch", "elasticsearch", "the index elasticsearch")
        parts = urlsplit(url)
        login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, host, parts.path, "", ""))
        self._client: Any = package.Elasticsearch(
            self._url,
            basic_auth=login,
            api_key=None if login else server_key(self._url, "ELASTICSEARCH_API_KEY"),
            request_timeout=options.timeout,
            max_retries=0,
        )
        self._package = package
        self._index, self._options = index, options
        self._stale = False
        self._texts: dict[str, str] = {}
        self._exists()

    def _count(self) -> int:
        self._refresh()
        return int(self._try(lambda: self._client.count(index=self._index))["count"])

    # ------------------------------------------------------------ the server

    def _try(self, work: Callable[[], T]) -> T:
        """Ask the server; its failures as ours."""
        package = self._package
        try:
            return work()
        except package.ConnectionTimeout:
            raise ServerError(
                f"Elasticsearch at {self._url} did not answer within {self._options.timeout:g} s",
                remedy="do it again when the server is less busy, or add timeout=SECONDS to the index",
            ) from None
        except package.AuthenticationException as error:
            raise AuthError(
                f"Elasticsearch at {self._url} refused the login ({error.status_code})",
                remedy="put user:password@ before the host, or set ELASTICSEARCH_API_KEY",
                status=error.status_code,
            ) from None
        except package.AuthorizationException as error:
            raise AuthError(
                f"Elasticsearch at {self._url} does not let this user do that ({error.status_code})",
                remedy="give the user the rights read, write and create_index on the index",
                status=error.status_code,
            ) from None
        except package.UnsupportedProductError as error:
            raise StoreError(f"the server at {self._url} is not Elasticsearch: {error}") from None
        except package.ApiError as error:
            said = str(error.message) if error.message else str(error)
            detail = _reason(error.body)
            if error.status_code >= 500 or error.status_code == 429:
                raise ServerError(
                    f"Elasticsearch at {self._url} failed ({error.status_code}): {detail or said}",
                    remedy="try again later",
                    status=error.status_code,
                ) from None
            raise StoreError(
                f"Elasticsearch at {self._url} refused the request ({error.status_code}): {detail or said}"
            ) from None
        except package.TransportError as error:
            raise ServerError(
                f"Elasticsearch at {self._url} cannot be reached: {error.message}",
                remedy="check that the server runs and the URL is right, then do it again",
            ) from None

    def _inspect(self) -> bool:
        if not self._try(lambda: self._client.indices.exists(index=self._index)):
            return False
        mapping = self._try(lambda: self._client.indices.get_mapping(index=self._index))
        # An alias answers with the index it stands for.
        field = next(iter(mapping.values()))["mappings"].get("properties", {}).get("vector", {})
        if field.get("type") != "dense_vector" or field.get("dims") != self.dimensions:
            raise InputError(
                f"the Elasticsearch index {self._index!r} holds {field.get('type', 'no vectors')} of"
                f" {field.get('dims')} dimensions, expected dense_vector of {self.dimensions}",
                remedy="use the embedder that it was built with, or name another index",
            )
        return True

    def _make(self) -> None:
        options = self._options
        kind: dict[str, Any] = {"type": options.type}
        if options.type != "flat":
            kind |= {"m": options.m, "ef_construction": options.build}
        # max_inner_product takes every vector, also those of empty texts, which are all zero.
        vector = {
            "type": "dense_vector",
            "dims": self.dimensions,
            "index": True,
            "similarity": "max_inner_product",
            "index_options": kind,
        }
        by_type = {"s": {"type": "keyword", "ignore_above": 8191}, "n": {"type": "double"}, "b": {"type": "boolean"}}
        mappings = {
            "dynamic": "strict",
            "dynamic_templates": [
                {name: {"path_match": f"{name}.*", "match_mapping_type": "*", "mapping": mapping}}
                for name, mapping in by_type.items()
            ],
            "properties": {
                "vector": vector,
                "text": {"type": "text", "analyzer": options.analyzer},
                "has": {"type": "keyword"},
                **{name: {"type": "object", "dynamic": True} for name in by_type},
            },
        }
        try:
            self._try(lambda: self._client.indices.create(index=self._index, mappings=mappings))
        except StoreError:
            if not self._inspect():  # else another made it at the same time
                raise

    def _refresh(self) -> None:
        if self._stale:
            self._try(lambda: self._client.indices.refresh(index=self._index))
            self._stale = False

    # ------------------------------------------------------------ writing

    def _cell(self, id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        if len(id.encode("utf-8", "surrogatepass")) > _LONGEST:
            raise InputError(f"the id {id[:60]!r}... is longer than the {_LONGEST} bytes that Elasticsearch takes")
        return as_fields(metadata)

    def upsert_texts(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        texts: Sequence[str],
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """``upsert`` with the texts that ``keyword`` searches. Raises InputError as upsert does."""
        if len(texts) != len(ids):
            raise InputError(f"got {len(ids)} ids and {len(texts)} texts: expected as many of each")
        self._texts = dict(zip(ids, texts, strict=True))
        try:
            self.upsert(ids, vectors, metadata)
        finally:
            self._texts = {}

    def _write(
        self, ids: Sequence[str], rows: NDArray[np.float32], cells: Sequence[dict[str, Any]], *, new: bool
    ) -> None:
        action = "create" if new else "index"
        if new:
            check_new(ids, self._found(ids))
        written: list[str] = []
        for part in lots(len(ids), max(1, (2 << 20) // (10 * self.dimensions))):
            operations: list[dict[str, Any]] = []
            for id, row, cell in zip(ids[part], rows[part], cells[part], strict=True):
                text = {"text": self._texts[id]} if id in self._texts else {}
                operations += [{action: {"_id": id}}, {"vector": row.tolist(), **text, **cell}]
            failed = self._bulk(operations, action)
            written += [name for name in ids[part] if name not in failed]
            if failed:
                name, (status, reason) = next(iter(failed.items()))
                if new:
                    self._bulk([{"delete": {"_id": done}} for done in written], "delete")
                if status == 409:
                    raise InputError(f"the id {name!r} is there already", remedy="use upsert to replace it")
                raise StoreError(
                    f"Elasticsearch at {self._url} refused {len(failed)} rows, the first is {name!r}: {reason}"
                    + ("" if new else f"; {len(written)} rows were written"),
                    remedy="correct that row, then do it again",
                )

    def _bulk(self, operations: list[dict[str, Any]], action: str) -> dict[str, tuple[int, str]]:
        """Send operations; the ids that failed, with status and reason."""
        if not operations:
            return {}
        answer = self._try(lambda: self._client.bulk(index=self._index, operations=operations))
        self._stale = True
        out: dict[str, tuple[int, str]] = {}
        for item in answer["items"]:
            done = item[action]
            if "error" in done:
                out[done["_id"]] = done["status"], _reason({"error": done["error"]})
        return out

    def _found(self, ids: Sequence[str]) -> dict[str, None]:
        out: dict[str, None] = {}
        for part in lots(len(ids), 1000):
            names = list(ids[part])
            answer = self._try(lambda: self._client.mget(index=self._index, ids=names, source=False))  # noqa: B023
            out.update((item["_id"], None) for item in answer["docs"] if item.get("found"))
        return out

    def _delete(self, ids: Sequence[str]) -> int:
        gone = 0
        for part in lots(len(ids), 1000):
            operations = [{"delete": {"_id": name}} for name in ids[part]]
            answer = self._try(lambda: self._client.bulk(index=self._index, operations=operations))  # noqa: B023
            gone += sum(item["delete"].get("result") == "deleted" for item in answer["items"])
            self._stale = True
        return gone

    # ------------------------------------------------------------ reading

    def _condition(self, where: Filter | None) -> dict[str, Any] | None:
        return as_elasticsearch(where) if check(where).parts else None

    def _search(self, queries: NDArray[np.float32], k: int, condition: Any) -> list[Hits]:
        count = min(k, _WINDOW)
        bodies: list[dict[str, Any]] = []
        for query in queries.tolist():
            knn: dict[str, Any] = {
                "field": "vector",
                "query_vector": query,
                "k": count,
                "num_candidates": min(_WINDOW, max(count, self._options.ef)),
            }
            if condition is not None:
                knn["filter"] = condition
            bodies.append({"knn": knn, "size": count, "_source": False})
        return [[(name, _product(score)) for name, score in hits] for hits in self._ask(bodies)]

    def keyword(self, query: str, k: int, where: Filter | None = None) -> Hits:
        """The k best ids by BM25 over the texts given to ``upsert_texts``, best first."""
        if k < 1:
            raise InputError(f"k is {k}, expected at least 1")
        match = {"match": {"text": {"query": query}}}
        narrowed = {"filter": [condition]} if (condition := self._condition(where)) else {}
        body = {"query": {"bool": {"must": [match], **narrowed}}, "size": min(k, _WINDOW), "_source": False}
        return sorted(self._ask([body])[0], key=lambda hit: (-hit[1], hit[0])) if self._exists() else []

    def _ask(self, bodies: Sequence[dict[str, Any]]) -> list[Hits]:
        self._refresh()
        out: list[Hits] = []
        for part in lots(len(bodies), 100):
            searches = [line for body in bodies[part] for line in ({}, body)]
            answer = self._try(lambda: self._client.msearch(index=self._index, searches=searches))  # noqa: B023
            for found in answer["responses"]:
                if "error" in found:
                    raise StoreError(
                        f"Elasticsearch at {self._url} refused a search ({found.get('status')}): {_reason(found)}"
                    )
                out.append([(str(hit["_id"]), float(hit["_score"])) for hit in found["hits"]["hits"]])
        return out

    def flush(self) -> None:
        """Writes are synced when they return; this makes them findable for others too."""
        if self._there:
            self._refresh()

    def close(self) -> None:
        self._client.close()


def _product(score: float) -> float:
    """The inner product that a max_inner_product score was made of: s < 1 is 1 / (1 - p), else p + 1."""
    return score - 1.0 if score >= 1.0 else 1.0 - 1.0 / score


def _reason(body: Any) -> str:
    """The innermost sentence of an error's body."""
    error = body.get("error") if isinstance(body, Mapping) else None
    said = str(error or "")
    while isinstance(error, Mapping):
        said = str(error.get("reason") or said)
        error = error.get("caused_by")
    return said


def open_elasticsearch(spec: IndexSpec, folder: Path, dimensions: int) -> ElasticsearchIndex:
    parts, steps = read_url(spec, ("http", "https"), 0, "elasticsearch:http://host:9200/index")
    name = steps[-1]
    if name != name.lower() or name.startswith(("-", "_", "+", ".")) or any(sign in name for sign in '\\*?"<>| ,#:'):
        raise InputError(f"Elasticsearch takes no index named {name!r}", remedy="use lower-case letters, digits and -")
    port = parts.port or (443 if parts.scheme == "https" else 9200)
    at = f"{parts.netloc.rpartition('@')[0]}@" if parts.username else ""
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    url = urlunsplit((parts.scheme, f"{at}{host}:{port}", "/".join(steps[:-1]), "", ""))
    return ElasticsearchIndex(spec, url, name, read_options(spec, ElasticsearchOptions), dimensions)


# ---------------------------------------------------------------- filters


def field_name(name: str) -> str:
    """A metadata field's name inside an Elasticsearch object: dots would make objects of it."""
    return quote(name, safe="-_").replace(".", "%2E")


def as_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the typed fields that ``as_elasticsearch`` asks for: ``s.*`` keyword, ``n.*`` double, ``b.*``
    boolean and ``has`` (keyword: the names of the fields). One field may so hold numbers here and texts there."""
    out: dict[str, dict[str, list[Scalar]]] = {"s": {}, "n": {}, "b": {}}
    cleaned = clean(metadata)
    for name, value in cleaned.items():
        for item in value if isinstance(value, tuple) else (value,):
            kind = typed(item)[0]
            out[kind].setdefault(field_name(name), []).append(item)
    return {**{kind: fields for kind, fields in out.items() if fields}, "has": sorted(cleaned)}


def as_elasticsearch(where: Filter | None) -> dict[str, Any]:
    """The filter in Elasticsearch's query DSL, over the fields that ``as_fields`` makes."""
    return _elastic(check(where))


def _elastic(node: Condition | Combination) -> dict[str, Any]:
    if isinstance(node, Combination):
        parts = [_elastic(part) for part in node.parts]
        if not parts:
            return {"match_none": {}} if node.any else {"match_all": {}}
        return {"bool": {"should": parts, "minimum_should_match": 1}} if node.any else {"bool": {"filter": parts}}
    name = field_name(node.field)
    if node.operator == "exists":
        present = {"term": {"has": {"value": node.field}}}
        return present if node.value else {"bool": {"must_not": [present]}}
    if node.operator in ("eq", "ne"):
        equal = {"term": {f"{typed(node.value)[0]}.{name}": {"value": node.value}}}
        return equal if node.operator == "eq" else {"bool": {"must_not": [equal]}}
    if node.operator == "in":
        by_kind: dict[str, list[Scalar]] = {}
        for item in node.value:
            by_kind.setdefault(typed(item)[0], []).append(item)
        parts = [{"terms": {f"{kind}.{name}": items}} for kind, items in by_kind.items()]
        return {"bool": {"should": parts, "minimum_should_match": 1}} if parts else {"match_none": {}}
    return {"range": {f"{typed(node.value)[0]}.{name}": {node.operator: node.value}}}


BACKEND = Backend(open_elasticsearch, sweep={"elasticsearch": ("ef", (16, 64, 128, 256))})
