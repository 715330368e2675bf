"""A server on loopback that speaks the subset of Elasticsearch's HTTP API that rung uses, over a real socket.

It checks every request as Elasticsearch does and answers 400 for what that would refuse: unknown keys (what is known comes
from the official client's own generated classes), wrong types, vectors of other dimensions, k > num_candidates, a field that
the strict mapping does not have, a text in a double. Searches see what was there at the last refresh; kNN is exact, texts are
scored by Lucene's BM25 (k1 1.2, b 0.75). Not here: shards, relevance of quantised vectors, other queries.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from elasticsearch import Elasticsearch
from elasticsearch.dsl import field as fields
from elasticsearch.dsl import query as queries
from elasticsearch.dsl import types

_WINDOW = 10_000


class Refused(Exception):
    def __init__(self, kind: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.status = kind, reason, status

    @property
    def body(self) -> dict[str, Any]:
        cause = {"type": self.kind, "reason": self.reason}
        return {"error": {"root_cause": [cause], **cause}, "status": self.status}


def _known(made: Callable[..., Any]) -> set[str]:
    """The parameters that the official client's class or method (made from the published specification) has."""
    return set(inspect.signature(made).parameters) - {"self", "args", "kwargs", "doc_class"}


def _only(value: Any, known: set[str], what: str) -> None:
    if not isinstance(value, Mapping):
        raise Refused("parsing_exception", f"[{what}] expected an object, got {value!r}")
    unknown = sorted(set(value) - known)
    if unknown:
        raise Refused("parsing_exception", f"[{what}] unknown field [{unknown[0]}]")


_FIELDS = {
    "dense_vector": fields.DenseVector,
    "keyword": fields.Keyword,
    "text": fields.Text,
    "double": fields.Double,
    "boolean": fields.Boolean,
    "object": fields.Object,
}
_SEARCH = {
    "aggregations",
    "aggs",
    "explain",
    "fields",
    "from",
    "highlight",
    "knn",
    "min_score",
    "post_filter",
    "query",
} | {
    "size",
    "sort",
    "_source",
    "timeout",
    "track_total_hits",
    "version",
}


@dataclass
class Index:
    properties: dict[str, Any]
    templates: list[dict[str, Any]]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    """Dynamically mapped fields: path -> type."""

    def type_of(self, path: str) -> str | None:
        head = self.properties.get(path)
        return head["type"] if head is not None else self.made.get(path)


@dataclass
class State:
    indexes: dict[str, Index] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    pause: float = 0.0
    fault: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


def _check_mapping(name: str, mapping: Mapping[str, Any]) -> None:
    kind = mapping.get("type", "object")
    if kind not in _FIELDS:
        raise Refused("mapper_parsing_exception", f"No handler for type [{kind}] declared on field [{name}]")
    _only(mapping, _known(_FIELDS[kind]) | {"type"}, name)
    if kind == "dense_vector":
        if not isinstance(mapping.get("dims"), int) or not 1 <= mapping["dims"] <= 4096:
            raise Refused("mapper_parsing_exception", f"[{name}] dims must be in the range [1, 4096]")
        if mapping.get("similarity") not in ("cosine", "dot_product", "l2_norm", "max_inner_product"):
            raise Refused("mapper_parsing_exception", f"[{name}] unknown similarity {mapping.get('similarity')!r}")
        options = mapping.get("index_options", {"type": "int8_hnsw"})
        _only(options, _known(types.DenseVectorIndexOptions), f"{name}.index_options")
        if options.get("type") not in ("hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat"):
            raise Refused("mapper_parsing_exception", f"[{name}] unknown index type {options.get('type')!r}")
        if options["type"] == "flat" and set(options) != {"type"}:
            raise Refused("mapper_parsing_exception", f"[{name}] flat takes no {sorted(set(options) - {'type'})}")


def _create(state: State, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if name in state.indexes:
        raise Refused("resource_already_exists_exception", f"index [{name}] already exists")
    if name != name.lower() or re.search(r'[\\/*?"<>| ,#:]', name) or name[0] in "-_+":
        raise Refused("invalid_index_name_exception", f"Invalid index name [{name}]")
    _only(body, {"aliases", "mappings", "settings"}, "create")
    mappings = body.get("mappings", {})
    _only(mappings, {"dynamic", "dynamic_templates", "properties", "_source", "_meta"}, "mappings")
    if mappings.get("dynamic", "true") not in ("strict", "true", "false", True, False, "runtime"):
        raise Refused("mapper_parsing_exception", f"unknown dynamic {mappings['dynamic']!r}")
    for key, mapping in mappings.get("properties", {}).items():
        _check_mapping(key, mapping)
    for template in mappings.get("dynamic_templates", []):
        ((key, rule),) = template.items()
        _only(
            rule,
            {"match", "path_match", "path_unmatch", "unmatch", "match_mapping_type", "match_pattern", "mapping"},
            key,
        )
        _check_mapping(key, rule["mapping"])
    state.indexes[name] = Index(dict(mappings.get("properties", {})), list(mappings.get("dynamic_templates", [])))
    return {"acknowledged": True, "shards_acknowledged": True, "index": name}


def _check_document(index: Index, document: Mapping[str, Any]) -> None:
    for name, value in document.items():
        mapping = index.properties.get(name)
        if mapping is None:
            raise Refused(
                "strict_dynamic_mapping_exception",
                f"[1:1] mapping set to strict, dynamic introduction of [{name}] within [_doc] is not allowed",
            )
        if mapping["type"] == "object":
            if not isinstance(value, Mapping):
                raise Refused(
                    "document_parsing_exception", f"object mapping for [{name}] tried to parse field as object"
                )
            for inner, cell in value.items():
                _check_dynamic(index, name, inner, cell)
        else:
            _check_value(name, mapping, value)


def _check_dynamic(index: Index, outer: str, inner: str, cell: Any) -> None:
    if not inner.strip() or any(not part for part in inner.split(".")):
        raise Refused("document_parsing_exception", "field name cannot be an empty string")
    if "." in inner or isinstance(cell, Mapping):
        raise Refused("document_parsing_exception", f"[{outer}.{inner}] is an object here")
    path = f"{outer}.{inner}"
    for template in index.templates:
        ((_, rule),) = template.items()
        if re.fullmatch(re.escape(rule.get("path_match", "*")).replace(r"\*", ".*"), path):
            _check_value(path, rule["mapping"], cell)
            index.made[path] = rule["mapping"]["type"]
            return
    raise Refused("document_parsing_exception", f"no template for [{path}]")


def _check_value(name: str, mapping: Mapping[str, Any], value: Any) -> None:
    kind = mapping["type"]
    if kind == "dense_vector":
        if not isinstance(value, list) or len(value) != mapping["dims"]:
            raise Refused(
                "document_parsing_exception",
                f"The [dense_vector] field [{name}] in doc has a different number of dimensions [{len(value)}] than"
                f" defined in the mapping [{mapping['dims']}]",
            )
        if not all(isinstance(item, int | float) and math.isfinite(item) for item in value):
            raise Refused(
                "document_parsing_exception", f"element_type [float] vectors do not support this value in [{name}]"
            )
        norm = math.sqrt(sum(item * item for item in value))
        if mapping["similarity"] == "cosine" and norm == 0:
            raise Refused(
                "document_parsing_exception", "The [cosine] similarity does not support vectors with zero magnitude"
            )
        if mapping["similarity"] == "dot_product" and abs(norm - 1) > 1e-3:
            raise Refused(
                "document_parsing_exception", "The [dot_product] similarity can only be used with unit-length vectors"
            )
        return
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            continue
        good = {
            "keyword": isinstance(item, str | int | float | bool),
            "text": isinstance(item, str | int | float | bool),
            "double": isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item),
            "boolean": isinstance(item, bool) or item in ("true", "false", ""),
        }[kind]
        if not good:
            raise Refused("document_parsing_exception", f"failed to parse field [{name}] of type [{kind}]: {item!r}")


def _bulk(state: State, name: str, lines: list[Any]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    errors = False
    at = 0
    if not lines:
        raise Refused("parse_exception", "request body is required")
    while at < len(lines):
        if not isinstance(lines[at], dict) or len(lines[at]) != 1:
            raise Refused("illegal_argument_exception", f"Malformed action/metadata line [{at + 1}]")
        ((action, head),) = lines[at].items()
        if action not in ("create", "index", "delete", "update"):
            raise Refused("illegal_argument_exception", f"Malformed action/metadata line [{at + 1}], found [{action}]")
        _only(head, {"_id", "_index", "routing", "require_alias", "if_seq_no", "if_primary_term", "version"}, action)
        at += 1
        index = state.indexes.get(name)
        key = head.get("_id")
        item: dict[str, Any] = {"_index": name, "_id": key}
        try:
            if not isinstance(key, str) or not key or len(key.encode()) > 512:
                raise Refused("illegal_argument_exception", f"id [{key!r}] must be 1 to 512 bytes long")
            if action == "delete":
                if index is None:
                    raise Refused("index_not_found_exception", f"no such index [{name}]", 404)
                gone = index.documents.pop(key, None)
                item |= {"result": "deleted" if gone else "not_found", "status": 200 if gone else 404}
            else:
                document, at = lines[at], at + 1
                if index is None:
                    raise Refused("index_not_found_exception", f"no such index [{name}]", 404)
                if action == "create" and key in index.documents:
                    raise Refused(
                        "version_conflict_engine_exception",
                        f"[{key}]: version conflict, document already exists (current version [1])",
                        409,
                    )
                _check_document(index, document)
                item |= {"result": "updated" if key in index.documents else "created"}
                item |= {"status": 200 if key in index.documents else 201}
                index.documents[key] = document
        except Refused as refused:
            errors = True
            item |= {"status": refused.status, "error": {"type": refused.kind, "reason": refused.reason}}
        items.append({action: item})
    return {"took": 1, "errors": errors, "items": items}


# ---------------------------------------------------------------- queries


def _values(document: Mapping[str, Any], path: str) -> list[Any]:
    value: Any = document
    for part in path.split(".", 1):
        value = value.get(part) if isinstance(value, Mapping) else None
    return [] if value is None else value if isinstance(value, list) else [value]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _clause(index: Index, query: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], float | None]:
    """A query as a function of a document: its score, or None where it does not match."""
    if not isinstance(query, Mapping) or len(query) != 1:
        raise Refused("parsing_exception", "[query] malformed query, expected one clause")
    ((kind, body),) = query.items()
    if kind == "match_all":
        _only(body, _known(queries.MatchAll), kind)
        return lambda key, document: 1.0
    if kind == "match_none":
        _only(body, _known(queries.MatchNone), kind)
        return lambda key, document: None
    if kind == "bool":
        return _bool(index, body)
    if kind == "terms":
        paths = [path for path in body if path not in ("boost", "_name")]
        if len(paths) != 1 or not isinstance(body[paths[0]], list) or len(body[paths[0]]) > 65_536:
            raise Refused("parsing_exception", "[terms] query requires one field and a list of values")
        holds = [_term(index, paths[0], value) for value in body[paths[0]]]
        return lambda key, document: 1.0 if any(test(document) for test in holds) else None
    if kind in ("term", "range", "match"):
        if not isinstance(body, Mapping) or len(body) != 1:
            raise Refused("parsing_exception", f"[{kind}] query doesn't support multiple fields")
        ((path, wanted),) = body.items()
        if kind == "term":
            _only(wanted, _known(types.TermQuery), kind)
            equal = _term(index, path, wanted["value"])
            return lambda key, document: 1.0 if equal(document) else None
        if kind == "range":
            _only(wanted, {"gt", "gte", "lt", "lte", "boost", "format", "relation", "time_zone", "_name"}, kind)
            within = _range(index, path, wanted)
            return lambda key, document: 1.0 if within(document) else None
        _only(wanted, _known(types.MatchQuery), kind)
        return _match(index, path, str(wanted["query"]))
    raise Refused("parsing_exception", f"unknown query [{kind}]")


def _bool(index: Index, body: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], float | None]:
    _only(body, _known(queries.Bool), "bool")

    def parts(name: str) -> list[Callable[[str, Mapping[str, Any]], float | None]]:
        given = body.get(name, [])
        return [_clause(index, item) for item in (given if isinstance(given, list) else [given])]

    must, should, never, kept = parts("must"), parts("should"), parts("must_not"), parts("filter")
    least = body.get("minimum_should_match", 0 if must or kept else 1)

    def score(key: str, document: Mapping[str, Any]) -> float | None:
        if any(part(key, document) is None for part in kept) or any(part(key, document) is not None for part in never):
            return None
        scores = [part(key, document) for part in must]
        if any(value is None for value in scores):
            return None
        more = [value for part in should if (value := part(key, document)) is not None]
        if should and len(more) < int(least):
            return None
        return sum(value for value in scores if value is not None) + sum(more)

    return score


def _term(index: Index, path: str, wanted: Any) -> Callable[[Mapping[str, Any]], bool]:
    kind = index.type_of(path)
    if kind is None:
        return lambda document: False
    if kind == "double":
        if isinstance(wanted, bool) or not isinstance(wanted, int | float):
            raise Refused("query_shard_exception", f"failed to create query: For input string: {wanted!r}")
        return lambda document: float(wanted) in map(float, _values(document, path))
    if kind == "boolean":
        if wanted not in (True, False, "true", "false") or (not isinstance(wanted, bool | str)):
            raise Refused("query_shard_exception", f"Can't parse boolean value [{wanted}], expected [true] or [false]")
        return lambda document: wanted in _values(document, path)
    if kind != "keyword":
        raise Refused("query_shard_exception", f"this server has no term query on [{kind}]")
    return lambda document: str(wanted) in [item for item in _values(document, path) if len(item) <= 8191]


def _range(index: Index, path: str, wanted: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    kind = index.type_of(path)
    if kind is None:
        return lambda document: False
    if kind == "double" and not all(
        isinstance(wanted[name], int | float) for name in ("gt", "gte", "lt", "lte") if name in wanted
    ):
        raise Refused("query_shard_exception", f"failed to create query: For input string: {dict(wanted)!r}")
    if kind not in ("double", "keyword"):
        raise Refused("query_shard_exception", f"this server has no range query on [{kind}]")

    def form(value: Any) -> Any:
        return float(value) if kind == "double" else str(value).encode("utf-8", "surrogatepass")

    tests: dict[str, Callable[[Any, Any], bool]] = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    bounds = [(tests[name], form(value)) for name, value in wanted.items() if name in tests]
    return lambda document: any(
        all(test(form(item), edge) for test, edge in bounds) for item in _values(document, path)
    )


def _match(index: Index, path: str, text: str) -> Callable[[str, Mapping[str, Any]], float | None]:
    if index.type_of(path) != "text":
        raise Refused("query_shard_exception", f"this server matches texts only, [{path}] is {index.type_of(path)}")
    counts = {key: Counter(_words(" ".join(_values(document, path)))) for key, document in index.visible.items()}
    lengths = {key: sum(count.values()) for key, count in counts.items() if count}
    average = sum(lengths.values()) / len(lengths) if lengths else 1.0
    total = len(lengths)

    def score(key: str, document: Mapping[str, Any]) -> float | None:
        found = 0.0
        for word in _words(text):
            times = counts[key][word]
            if times:
                holders = sum(word in count for count in counts.values())
                weight = math.log(1 + (total - holders + 0.5) / (holders + 0.5))
                found += weight * times / (times + 1.2 * (1 - 0.75 + 0.75 * lengths[key] / average))
        return found or None

    return score


def _search(state: State, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    _only(body, _SEARCH, "search")
    index = state.indexes.get(name)
    if index is None:
        raise Refused("index_not_found_exception", f"no such index [{name}]", 404)
    size = body.get("size", 10)
    if not isinstance(size, int) or size < 0:
        raise Refused("illegal_argument_exception", f"[size] parameter cannot be negative, found [{size}]")
    if size + body.get("from", 0) > _WINDOW:
        raise Refused(
            "illegal_argument_exception", f"Result window is too large, must be <= [{_WINDOW}] but was [{size}]"
        )
    scores: dict[str, float] = {}
    if "query" in body:
        clause = _clause(index, body["query"])
        scores = {key: value for key, document in index.visible.items() if (value := clause(key, document)) is not None}
    if "knn" in body:
        for key, value in _knn(index, body["knn"]).items():
            scores[key] = scores.get(key, 0.0) + value
    elif "query" not in body:
        scores = dict.fromkeys(index.visible, 1.0)
    best = sorted(scores.items(), key=lambda pair: -pair[1])[:size]
    hits: list[dict[str, Any]] = [
        {"_index": name, "_id": key, "_score": float(np.float32(value))} for key, value in best
    ]
    if body.get("_source", True) is not False:
        for hit in hits:
            hit["_source"] = index.visible[str(hit["_id"])]
    return {
        "took": 1,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": len(scores), "relation": "eq"}, "max_score": None, "hits": hits},
        "status": 200,
    }


def _knn(index: Index, body: Mapping[str, Any]) -> dict[str, float]:
    _only(body, _known(queries.Knn) | {"inner_hits"}, "knn")
    mapping = index.properties.get(body.get("field", ""))
    if mapping is None or mapping["type"] != "dense_vector":
        raise Refused(
            "query_shard_exception",
            f"[knn] queries are only supported on [dense_vector] fields, not {body.get('field')}",
        )
    vector = body.get("query_vector")
    if not isinstance(vector, list) or len(vector) != mapping["dims"]:
        raise Refused(
            "query_shard_exception",
            f"the query vector has a different dimension [{len(vector or [])}] than the index vectors [{mapping['dims']}]",
        )
    k, candidates = body.get("k", 10), body.get("num_candidates", 10)
    if not isinstance(k, int) or k < 1:
        raise Refused("illegal_argument_exception", "[k] must be greater than 0")
    if candidates < k:
        raise Refused("illegal_argument_exception", "[num_candidates] cannot be less than [k]")
    if candidates > _WINDOW:
        raise Refused("illegal_argument_exception", f"[num_candidates] cannot exceed [{_WINDOW}]")
    given = body.get("filter", [])
    kept = [_clause(index, item) for item in (given if isinstance(given, list) else [given])]
    keys = [
        key
        for key, document in index.visible.items()
        if "vector" in document and all(part(key, document) is not None for part in kept)
    ]
    if not keys:
        return {}
    rows = np.array([index.visible[key]["vector"] for key in keys], np.float32)
    products = rows @ np.array(vector, np.float32)
    order = np.argsort(-products, kind="stable")[:k]
    kind = mapping["similarity"]
    out = {}
    for at in order.tolist():
        product = float(products[at])
        if kind == "max_inner_product":
            out[keys[at]] = product + 1 if product >= 0 else 1 / (1 - product)
        else:
            out[keys[at]] = (1 + product) / 2
    return out


# ---------------------------------------------------------------- the wire

_QUERY = {
    "bulk": set(inspect.signature(Elasticsearch.bulk).parameters),
    "msearch": set(inspect.signature(Elasticsearch.msearch).parameters),
    "search": set(inspect.signature(Elasticsearch.search).parameters) | {"_source"},
    "mget": set(inspect.signature(Elasticsearch.mget).parameters) | {"_source"},
    "count": set(inspect.signature(Elasticsearch.count).parameters),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if self.command == "HEAD" else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("content-type", "application/vnd.elasticsearch+json;compatible-with=9")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _lines(self, raw: bytes) -> list[Any]:
        if not raw.endswith(b"\n"):
            raise Refused("illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
        return [json.loads(line) for line in raw.splitlines() if line.strip()]

    def _do(self) -> None:
        state: State = self.server.state  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        steps = [unquote(step) for step in parts.path.split("/") if step]
        raw = self._body()
        time.sleep(state.pause)
        state.seen.append((self.command, parts.path))
        try:
            if state.fault:
                raise Refused("circuit_breaking_exception", "[parent] Data too large", state.fault)
            with state.lock:
                status, body = self._route(state, steps, dict(parse_qsl(parts.query)), raw)
            self._answer(status, body)
        except Refused as refused:
            self._answer(refused.status, refused.body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._answer(400, Refused("parse_exception", f"{type(error).__name__}: {error}").body)

    def _route(self, state: State, steps: list[str], query: dict[str, str], raw: bytes) -> tuple[int, Any]:
        if not steps:
            return 200, {"name": "test", "version": {"number": "9.5.1"}, "tagline": "You Know, for Search"}
        name, verb = steps[0], steps[1] if len(steps) > 1 else ""
        kind = self.headers.get("content-type", "")
        if raw and not kind.startswith(("application/json", "application/vnd.elasticsearch+", "application/x-ndjson")):
            raise Refused("media_type_header_exception", f"Invalid media-type value on headers [{kind}]")
        if verb.strip("_") in _QUERY and set(query) - _QUERY[verb.strip("_")]:
            extra = sorted(set(query) - _QUERY[verb.strip("_")])
            raise Refused(
                "illegal_argument_exception", f"request [{self.path}] contains unrecognized parameter: {extra}"
            )
        if verb == "_bulk" and self.command in ("POST", "PUT"):
            return 200, _bulk(state, name, self._lines(raw))
        if verb == "" and self.command == "PUT":
            return 200, _create(state, name, json.loads(raw) if raw else {})
        index = state.indexes.get(name)
        if verb == "" and self.command == "HEAD":
            return (200 if index is not None else 404), {}
        if verb == "_msearch" and self.command in ("POST", "GET"):
            return 200, {"took": 1, "responses": self._many(state, name, self._lines(raw))}
        if index is None:
            raise Refused("index_not_found_exception", f"no such index [{name}]", 404)
        if verb == "" and self.command == "DELETE":
            del state.indexes[name]
            return 200, {"acknowledged": True}
        if verb == "_mapping" and self.command == "GET":
            return 200, {name: {"mappings": {"properties": index.properties}}}
        if verb == "_refresh" and self.command == "POST":
            index.visible = dict(index.documents)
            return 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}
        body = json.loads(raw) if raw else {}
        if verb == "_count":
            _only(body, {"query"}, "count")
            clause = _clause(index, body.get("query", {"match_all": {}}))
            count = sum(clause(key, document) is not None for key, document in index.visible.items())
            return 200, {"count": count, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}}
        if verb == "_mget":
            _only(body, {"docs", "ids"}, "mget")
            return 200, {"docs": [{"_index": name, "_id": key, "found": key in index.documents} for key in body["ids"]]}
        if verb == "_search":
            return 200, _search(state, name, body)
        raise Refused("illegal_argument_exception", f"no handler found for {self.command} {self.path}")

    def _many(self, state: State, name: str, lines: list[Any]) -> list[Any]:
        if len(lines) % 2:
            raise Refused("parse_exception", "[_msearch] needs a header and a body for each search")
        out = []
        for head, body in zip(lines[::2], lines[1::2], strict=True):
            try:
                _only(head, {"index", "preference", "routing", "search_type", "request_cache"}, "header")
                out.append(_search(state, head.get("index", name), body))
            except Refused as refused:
                out.append(refused.body)
        return out

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _do


@contextmanager
def serve() -> Iterator[State]:
    """A running server; its threads end with it."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.state = state = State()  # type: ignore[attr-defined]
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
