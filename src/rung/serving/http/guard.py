"""What stands around every request: its id, the check of host, key and role, the access log, and errors as OpenAI's objects."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rung.core.types import Usage
from rung.serving.access.call import RequestCall, enter, new_id
from rung.serving.access.door import Door
from rung.serving.apis.wire.refused import Refused
from rung.serving.observe.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

access = logging.getLogger("rung.access")


async def on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.scope["rung.code"] = error.code
    return JSONResponse(error.body(), error.status, error.headers())


async def on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this address", 405: "this address does not take this method"}
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    refused = Refused(error.status_code, said.get(error.status_code, str(error.detail)), code=code)
    return JSONResponse(refused.body(), error.status_code, error.headers)


async def on_defect(request: Request, error: Exception) -> Response:
    refused = defect(request.scope)
    return JSONResponse(refused.body(), refused.status, refused.headers())


def defect(scope: Scope) -> Refused:
    said = f"the server failed on this request ({scope.get('rung.id', '')}); its log says why"
    return Refused(500, said, code="internal_error", again=False)


class RequestGuard:
    """Every scope but the application's own start and end passes here: HTTP and websockets alike. One line of access log a
    request: no contents, no keys, no query.

    ``quick`` are addresses (with POST) that are answered without the framework behind.
    """

    def __init__(
        self, app: ASGIApp, door: Door, log: bool, quick: Mapping[str, ASGIApp], metrics: Metrics | None = None
    ) -> None:
        self.app, self.door, self.log, self.quick, self.metrics = app, door, log, quick, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        scope["rung.id"] = id = new_id("req-", 8)
        status = 0

        async def sent(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event["headers"] = [*event["headers"], (b"x-request-id", id.encode())]
            await send(event)

        try:
            try:
                call = await self.door.admit(scope["path"], scope["headers"])
            except Refused as refused:
                scope["rung.code"] = refused.code
                await JSONResponse(refused.body(), refused.status, refused.headers())(scope, receive, sent)
                return
            scope["rung.call"] = call
            enter(call)
            app = self.quick.get(scope["path"]) if scope["method"] == "POST" else None
            await (app or self.app)(scope, receive, sent)
        finally:
            seconds, status = time.perf_counter() - started, scope.get("rung.status", status)
            if self.metrics is not None:
                self.metrics.request(scope, status, seconds)
            if self.log and access.isEnabledFor(logging.INFO):
                self._write(scope, status, seconds)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["rung.id"] = new_id("req-", 8)
        try:
            scope["rung.call"] = call = await self.door.admit(scope["path"], scope["headers"])
        except Refused as refused:
            await receive()
            await send({"type": "websocket.close", "code": 4401 if refused.status == 401 else 4403})
            return
        enter(call)
        await self.app(scope, receive, send)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        usage: Usage | None = scope.get("rung.usage")
        call: RequestCall | None = scope.get("rung.call")
        facts = {
            "tenant": call.caller.tenant if call is not None else "",
            "key": call.caller.key if call is not None else "",
            "model": scope.get("rung.model", ""),
            "by": call.served_by if call is not None else "",
            "degraded": call.degraded if call is not None else "",
            "cache": call.cache if call is not None else "",
            "tokens": f"{usage.prompt_tokens}+{usage.completion_tokens}" if usage is not None else "",
            "code": scope.get("rung.code") or "",
        }
        told = "".join(f" {name}={value}" for name, value in facts.items() if value)
        where = path_of(scope)
        access.info(
            "%s %s %s %d %.1fms%s",
            scope["rung.id"],
            scope["method"],
            where,
            status,
            seconds * 1e3,
            told,
            extra={"facts": {"id": scope["rung.id"], "method": scope["method"], "path": where, "status": status,
                             "seconds": round(seconds, 6), **{name: value for name, value in facts.items() if value}}},
        )  # fmt: skip


def path_of(scope: Scope) -> str:
    """The address as it was declared (never what a caller made of it)."""
    return str(scope.get("rung.path") or getattr(scope.get("route"), "path", "-"))
