"""The addresses of batches: begin one, look at it, end it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from pydantic import Field

from rung.serving.apis.batches.batches import STOPPABLE, BatchRunner, counts
from rung.serving.apis.wire.chat import Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.http.chat import read_body
from rung.serving.http.limits import Limits
from rung.store import Store, StoredBatch


class BatchRequest(Readable):
    """The body of POST /v1/batches."""

    input_file_id: str = Field(min_length=1, max_length=200)
    endpoint: str = Field(min_length=1, max_length=200)
    completion_window: str = "24h"
    metadata: dict[str, str] | None = Field(default=None)


def add_batches(app: FastAPI, runner: BatchRunner, limits: Limits) -> None:
    """Put the addresses on the application."""
    store = runner.store

    @app.post("/v1/batches", response_model=None)
    async def create(request: Request) -> dict[str, Any]:
        """Begin a batch of requests from a file."""
        asked = parse_body(BatchRequest, await read_body(request.receive, limits))
        caller = request.scope["rung.call"].caller
        if asked.endpoint not in runner.addresses:
            said = f"endpoint: got {asked.endpoint[:100]!r}, expected one of {', '.join(runner.addresses)}"
            raise Refused(400, said, param="endpoint", code="invalid_value")
        if await asyncio.to_thread(store.files.get, asked.input_file_id, caller.tenant) is None:
            said = f"there is no file {asked.input_file_id[:100]!r}"
            raise Refused(404, said, param="input_file_id", code="not_found")
        now = time.time()
        id = f"batch_{secrets.token_hex(12)}"
        shown = {
            "id": id,
            "object": "batch",
            "endpoint": asked.endpoint,
            "input_file_id": asked.input_file_id,
            "completion_window": asked.completion_window,
            "status": "validating",
            "created_at": int(now),
            "expires_at": int(now) + 86400,
            "metadata": asked.metadata,
            "request_counts": counts(0),
            "key": caller.key,
        }
        batch = StoredBatch(id, caller.tenant, "validating", json.dumps(shown), runner.owner, now, now)
        await asyncio.to_thread(store.batches.put, batch)
        runner.start(batch)
        return _wire(batch)

    @app.get("/v1/batches", response_model=None)
    async def listed(request: Request) -> dict[str, Any]:
        """A tenant's batches."""
        found = await asyncio.to_thread(store.batches.all, request.scope["rung.call"].caller.tenant)
        return {"object": "list", "data": [_wire(batch) for batch in found], "has_more": False}

    @app.get("/v1/batches/{id}", response_model=None)
    async def shown(request: Request, id: str) -> dict[str, Any]:
        """How a batch is going."""
        return _wire(await _find(store, request, id))

    @app.post("/v1/batches/{id}/cancel", response_model=None)
    async def cancel(request: Request, id: str) -> dict[str, Any]:
        """End a batch; what was answered is kept."""
        batch = await _find(store, request, id)
        payload = {**json.loads(batch.payload), "status": "cancelling", "cancelling_at": int(time.time())}
        ended = replace(batch, status="cancelling", payload=json.dumps(payload))
        if not await asyncio.to_thread(store.batches.change, ended, STOPPABLE):
            ended = await _find(store, request, id)
            if ended.status != "cancelling":
                raise Refused(409, f"the batch is {ended.status}", code="batch_over", again=False)
        return _wire(ended)


async def _find(store: Store, request: Request, id: str) -> StoredBatch:
    batch = await asyncio.to_thread(store.batches.get, id, request.scope["rung.call"].caller.tenant)
    if batch is None:
        raise Refused(404, f"there is no batch {id[:100]!r}", param="batch_id", code="not_found")
    return batch


def _wire(batch: StoredBatch) -> dict[str, Any]:
    return {name: value for name, value in json.loads(batch.payload).items() if name != "key"}
