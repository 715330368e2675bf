"""POST /v1/appeals and GET /v1/appeals/ID: object to what moderation decided, and learn how a person has ruled."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from pydantic import Field

from rung.serving.apis.wire.chat import Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.http.chat import read_body
from rung.serving.http.limits import Limits
from rung.store import Store, StoredDecision


class Appeal(Readable):
    """The body of POST /v1/appeals: a decision's id, and why it is wrong."""

    id: str = Field(min_length=1, max_length=64)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


_SCHEMA = {"requestBody": {"required": True, "content": {"application/json": {"schema": Appeal.model_json_schema()}}}}


def add_appeals(app: FastAPI, store: Store, limits: Limits) -> None:
    """Add both addresses. Whoever has a decision's id was told it with the decision."""

    @app.post("/v1/appeals", response_model=None, openapi_extra=_SCHEMA)
    async def appeal(request: Request) -> dict[str, Any]:
        """Object to a decision of moderation: it waits for a person then."""
        said = parse_body(Appeal, await read_body(request.receive, limits))
        return _wire(await asyncio.to_thread(_appeal, store, said))

    @app.get("/v1/appeals/{id}", response_model=None)
    async def look(id: str) -> dict[str, Any]:
        """What was decided, and how a person has ruled (null: nobody has yet)."""
        return _wire(await asyncio.to_thread(_find, store, id))


def _find(store: Store, id: str) -> StoredDecision:
    found = store.decisions.find(id)
    if found is None:
        raise Refused(404, f"no decision {id[:64]!r} is kept here", param="id", code="not_found", again=False)
    return found


def _appeal(store: Store, said: Appeal) -> StoredDecision:
    found = _find(store, said.id)
    if not found.appeal and not found.ruling:
        store.decisions.appeal(said.id, said.reason)
        found = _find(store, said.id)
    if found.ruling:
        raise Refused(409, f"a person has ruled on {said.id}: {found.ruling}", code="ruled", again=False)
    return found


def _wire(row: StoredDecision) -> dict[str, Any]:
    return {"id": row.id, "label": row.label, "verdict": row.verdict, "waiting": row.waiting,
            "ruling": row.ruling or None, "why": row.why or None}  # fmt: skip
