"""What stands around every request: its id, the check of host, key and role, the access log, and errors as OpenAI's
objects."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.core.types import Usage
from rung.serving.access.call import RequestCall, enter, new_id
from rung.serving.access.door import Door
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import defect, send_refused
from rung.serving.observe.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

    from rung.serving.observe.spans import Spans

access = logging.getLogger("rung.access")
logger = logging.getLogger("rung.serving")


@dataclass(frozen=True, slots=True)
class Observers:
    """What is told of each request: a line of the access log (with ``content``: what was asked and answered, too, in
    its JSON form), metrics, spans."""

    log: bool = True
    content: bool = False
    metrics: Metrics | None = None
    spans: Spans | None = None


class RequestGuard:
    """Every scope but the application's own start and end passes here: HTTP and websockets alike. One line of access
    log a
    request: no contents, no keys, no query.

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
                await send_refused(sent, refused)
                return
            scope["rung.call"] = call
            enter(call)
            try:
                await self.quick.get((scope["method"], scope["path"]), self.app)(scope, receive, sent)
            except Exception:
                if status:
                    raise
                logger.exception("request %s failed", id)
                await send_refused(sent, defect(scope))
        finally:
            seconds, status = time.perf_counter() - started, scope.get("rung.status", status)
            observers = self.observers
            if observers.metrics is not None:
                observers.metrics.request(scope, status, seconds)
            if observers.spans is not None:
                observers.spans.request(scope, path_of(scope), status, seconds)
            if observers.log and access.isEnabledFor(logging.INFO):
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
        facts: dict[str, Any] = {}
        if call is not None:
            caller = call.caller
            facts = {"tenant": caller.tenant, "key": caller.key, "model": scope.get("rung.model"), "by": call.served_by,
                     "degraded": call.degraded, "cache": call.cache}  # fmt: skip
        if usage is not None:
            facts["tokens"] = f"{usage.prompt_tokens}+{usage.completion_tokens}"
        facts["code"] = scope.get("rung.code")
        facts = {name: value for name, value in facts.items() if value}
        id, method, where = scope["rung.id"], scope["method"], path_of(scope)
        told = "".join([f" {name}={value}" for name, value in facts.items()])
        said = f"{id} {method} {where} {status} {seconds * 1e3:.1f}ms{told}"
        # Made here, because the logger would look up the file and line of this call each time.
        record = logging.LogRecord(access.name, logging.INFO, __file__, 0, said, (), None)
        if self.observers.content and (asked := scope.get("rung.asked")) is not None:
            facts["messages"] = [{"role": turn.role, "content": turn.content} for turn in asked.messages]
            facts["answers"] = [choice.text for choice in scope.get("rung.choices", ())]
        record.facts = {
            "id": id,
            "method": method,
            "path": where,
            "status": status,
            "seconds": round(seconds, 6),
            **facts,
        }
        access.handle(record)


def path_of(scope: Scope) -> str:
    """The address as it was declared (never what a caller made of it)."""
    return str(scope.get("rung.path") or getattr(scope.get("route"), "path", "-"))
