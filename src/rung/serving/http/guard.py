"""What stands around every request: its id, the check of host, key and role, the access log, and errors as OpenAI's
objects."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rung.serving.access.call import enter, new_id
from rung.serving.access.door import Door
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import defect, send_refused
from rung.serving.observe.observers import Observers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

logger = logging.getLogger("rung.serving")


class RequestGuard:
    """Every scope but the application's own start and end passes here: HTTP and websockets alike. One line of access
    log a request: no contents, no keys, no query.

    ``quick`` are addresses (method and path) that are answered without the framework behind.
    """

    def __init__(
        self, app: ASGIApp, door: Door, quick: Mapping[tuple[str, str], ASGIApp], observers: Observers
    ) -> None:
        self.app, self.door, self.quick, self.observers = app, door, quick, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, observers = time.perf_counter(), self.observers
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
                _refuse_packed(scope["headers"])
            except Refused as refused:
                scope["rung.code"] = refused.code
                await send_refused(sent, refused)
                return
            observers.begin(scope, call)
            enter(call)
            try:
                await self.quick.get((scope["method"], scope["path"]), self.app)(scope, receive, sent)
            except Exception:
                if status:
                    raise
                logger.exception("request %s failed", id)
                await send_refused(sent, defect(scope))
        finally:
            observers.tell(scope, scope.get("rung.status", status), time.perf_counter() - started)

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


def _refuse_packed(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise Refused for a compressed body: a small one could be of any size."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            packed = value.decode("latin-1")[:40]
            said = f"the body is compressed ({packed}), and is read only as it is; send it without content-encoding"
            raise Refused(415, said, code="content_encoding", again=False)
