"""A server on loopback with the part of Qdrant's REST API that rung uses, over a real socket.

Requests are checked by the official client's models (made from Qdrant's OpenAPI file; unknown keys are refused), and what
they ask is done by Qdrant's own engine (``qdrant-edge-py``), so that filters and scores are Qdrant's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge
from pydantic import ValidationError
from qdrant_client.http import models


@dataclass
class State:
    folder: Path
    shards: dict[str, tuple[models.CreateCollection, Any]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    pause: float = 0.0
    fault: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _condition(given: Any) -> Any:
    if isinstance(given, models.Filter):
        return _filter(given)
    if isinstance(given, models.IsEmptyCondition):
        return edge.IsEmptyCondition(given.is_empty.key)
    if isinstance(given, models.HasIdCondition):
        return edge.HasIdCondition({_id(name) for name in given.has_id})
    if isinstance(given, models.FieldCondition):
        match: Any = None
        span: Any = None
        if isinstance(given.match, models.MatchValue):
            match = edge.MatchValue(_marked(given.match.value))
        elif isinstance(given.match, models.MatchAny):
            match = edge.MatchAny([str(item) for item in given.match.any])
        elif given.match is not None:
            raise Refused(400, f"this server has no {type(given.match).__name__}")
        if isinstance(given.range, models.DatetimeRange):
            bounds = {name: value.isoformat() for name, value in given.range.model_dump(exclude_none=True).items()}
            span = edge.RangeDateTime(**bounds)
        elif given.range is not None:
            span = edge.RangeFloat(**given.range.model_dump(exclude_none=True))
        return edge.FieldCondition(given.key, match=match, range=span)
    raise Refused(400, f"this server has no {type(given).__name__}")


def _filter(given: models.Filter | None) -> Any:
    if given is None:
        return None

    def parts(some: Any) -> Any:
        return None if some is None else [_condition(item) for item in (some if isinstance(some, list) else [some])]

    return edge.Filter(must=parts(given.must), should=parts(given.should), must_not=parts(given.must_not))


def _marked(value: Any) -> Any:
    """Booleans as texts, in payloads and matches alike: the engine's Python binding reads a match's True as the number 1
    (a server reads JSON's true as a boolean)."""
    if isinstance(value, bool):
        return f"\ufdd0{value}"
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {name: _marked(item) for name, item in value.items()}
    return value


def _id(name: Any) -> Any:
    return name if isinstance(name, int) else uuid.UUID(str(name))


def vector_of(point: models.PointStruct) -> list[float]:
    if not isinstance(point.vector, list) or not all(isinstance(number, float) for number in point.vector):
        raise Refused(400, "this server has one dense vector a point")
    return [float(number) for number in point.vector if isinstance(number, float)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _do(self) -> None:
        state: State = self.server.state  # type: ignore[attr-defined]
        steps = [unquote(step) for step in urlsplit(self.path).path.split("/") if step]
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        time.sleep(state.pause)
        state.seen.append((self.command, self.path))
        status, body = 200, b""
        try:
            if state.fault:
                raise Refused(state.fault, "Service internal error")
            with state.lock:
                result = self._route(state, steps, raw)
            body = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
        except (Refused, ValidationError) as error:
            status = error.status if isinstance(error, Refused) else 400
            body = json.dumps({"status": {"error": str(error)}, "time": 0.0}).encode()
        except Exception as error:
            status, body = (
                400,
                json.dumps({"status": {"error": f"{type(error).__name__}: {error}"}, "time": 0.0}).encode(),
            )
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _route(self, state: State, steps: list[str], raw: bytes) -> Any:
        if len(steps) < 2 or steps[0] != "collections":
            raise Refused(404, f"no such path {self.path}")
        name, verb = steps[1], "/".join(steps[2:])
        if verb == "exists":
            return {"exists": name in state.shards}
        if verb == "" and self.command == "PUT":
            return self._create(state, name, models.CreateCollection.model_validate_json(raw))
        if name not in state.shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        asked, shard = state.shards[name]
        if verb == "" and self.command == "GET":
            return self._describe(asked, shard)
        if verb == "" and self.command == "DELETE":
            del state.shards[name]
            return True
        if verb == "points" and self.command == "PUT":
            given = models.PointsList.model_validate_json(raw)
            size = asked.vectors.size  # type: ignore[union-attr]
            for point in given.points:
                if len(vector_of(point)) != size:
                    raise Refused(400, f"Wrong input: Vector dimension error: expected dim: {size}")
            points = [edge.Point(_id(point.id), vector_of(point), _marked(point.payload)) for point in given.points]
            shard.update(edge.UpdateOperation.upsert_points(points))
            return {"operation_id": 1, "status": "completed"}
        if verb == "points" and self.command == "POST":
            wanted = models.PointRequest.model_validate_json(raw)
            found = shard.retrieve([_id(point) for point in wanted.ids], with_payload=True, with_vector=False)
            return [{"id": str(record.id), "payload": record.payload} for record in found]
        if verb == "points/delete":
            chosen = models.PointIdsList.model_validate_json(raw)
            shard.update(edge.UpdateOperation.delete_points([_id(point) for point in chosen.points]))
            return {"operation_id": 1, "status": "completed"}
        if verb == "points/count":
            counted = models.CountRequest.model_validate_json(raw)
            return {"count": shard.count(edge.CountRequest(exact=True, filter=_filter(counted.filter)))}
        if verb == "points/query/batch":
            batch = models.QueryRequestBatch.model_validate_json(raw)
            return [{"points": self._query(asked, shard, query)} for query in batch.searches]
        raise Refused(404, f"no such path {self.path}")

    def _create(self, state: State, name: str, asked: models.CreateCollection) -> bool:
        if name in state.shards:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        if not isinstance(asked.vectors, models.VectorParams):
            raise Refused(400, "this server has one vector a point")
        distance = {"Dot": edge.Distance.Dot, "Cosine": edge.Distance.Cosine}[asked.vectors.distance.value]
        config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=asked.vectors.size, distance=distance))
        folder = state.folder / uuid.uuid4().hex
        folder.mkdir()
        state.shards[name] = asked, edge.EdgeShard.create(str(folder), config)
        return True

    def _describe(self, asked: models.CreateCollection, shard: Any) -> Any:
        assert isinstance(asked.vectors, models.VectorParams)
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
        if asked.hnsw_config is not None:
            hnsw |= asked.hnsw_config.model_dump(exclude_none=True)
        vectors = {"size": asked.vectors.size, "distance": asked.vectors.distance.value}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": shard.count(edge.CountRequest(exact=True)),
            "segments_count": 1,
            "config": {
                "params": {"vectors": vectors, "shard_number": 1, "replication_factor": 1},
                "hnsw_config": hnsw,
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
            },
            "payload_schema": {},
        }

    def _query(self, asked: models.CreateCollection, shard: Any, query: models.QueryRequest) -> Any:
        size = asked.vectors.size  # type: ignore[union-attr]
        vector = query.query if isinstance(query.query, list) else getattr(query.query, "nearest", None)
        if not isinstance(vector, list) or len(vector) != size:
            raise Refused(400, f"Wrong input: Vector dimension error: expected dim: {size}")
        params = query.params or models.SearchParams()
        found = shard.query(
            edge.QueryRequest(
                limit=query.limit or 10,
                query=edge.Query.Nearest(vector),
                filter=_filter(query.filter),
                params=edge.SearchParams(hnsw_ef=params.hnsw_ef, exact=bool(params.exact)),
                with_payload=True,
            )
        )
        return [
            {"id": str(hit.id), "version": hit.version, "score": hit.score, "payload": hit.payload} for hit in found
        ]

    do_GET = do_POST = do_PUT = do_DELETE = _do


@contextmanager
def serve() -> Iterator[State]:
    """A running server; its threads and files end with it."""
    folder = Path(tempfile.mkdtemp(prefix="rung-qdrant-"))
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.state = state = State(folder)  # type: ignore[attr-defined]
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        state.shards.clear()
        shutil.rmtree(folder, ignore_errors=True)
