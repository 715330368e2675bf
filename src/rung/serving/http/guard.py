"""What stands around every request: its id, the check of host and key, the access log, and errors as OpenAI's objects."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rung.core.types import Usage
from rung.serving.access.keys import Keys
from rung.serving.apis.wire.refused import Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

access = logging.getLogger("rung.access")

OPEN = frozenset({"/health", "/search"})
"""What needs no key: whether the process answers, and the search page, which holds nothing until it is given a key."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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


class GuardMiddleware:
    """Request id, host and key checks, and one line of access log a request: no contents, no keys, no query."""

    def __init__(self, app: ASGIApp, keys: Keys, log: bool) -> None:
        self.app, self.keys, self.log = app, keys, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["rung.id"] = id = "req-" + secrets.token_hex(8)
        status = 0

        async def sent(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event["headers"] = [*event["headers"], (b"x-request-id", id.encode())]
            await send(event)

        refused = self._check(scope)
        try:
            if refused is not None:
                scope["rung.code"] = refused.code
                await JSONResponse(refused.body(), refused.status, refused.headers())(scope, receive, sent)
            else:
                await self.app(scope, receive, sent)
        finally:
            if self.log and access.isEnabledFor(logging.INFO):
                self._write(scope, scope.get("rung.status", status), time.perf_counter() - started)

    def _check(self, scope: Scope) -> Refused | None:
        headers = {name: value for name, value in scope["headers"] if name in (b"host", b"origin", b"authorization")}
        if not self.keys:
            host = _hostname("//" + headers.get(b"host", b"").decode("latin-1"))
            origin = headers.get(b"origin")
            if host not in LOOPBACK or (origin is not None and _hostname(origin.decode("latin-1")) not in LOOPBACK):
                said = "this server has no API keys and answers only callers on its own machine, by the name localhost"
                return Refused(403, said, code="foreign_host", again=False)
            return None
        if scope["path"] in OPEN:
            return None
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self.keys.admit(key.strip()):
            return None
        said = "wrong API key" if key else "no API key; send it as: Authorization: Bearer KEY"
        return Refused(401, said, code="invalid_api_key", again=False)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        usage: Usage | None = scope.get("rung.usage")
        tokens = f" tokens={usage.prompt_tokens}+{usage.completion_tokens}" if usage is not None else ""
        model = f" model={scope['rung.model']}" if "rung.model" in scope else ""
        code = f" code={scope['rung.code']}" if scope.get("rung.code") else ""
        path = getattr(route, "path", "-")
        access.info(
            "%s %s %s %d %.1fms%s%s%s",
            scope["rung.id"],
            scope["method"],
            path,
            status,
            seconds * 1e3,
            model,
            tokens,
            code,
        )


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
