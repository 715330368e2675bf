"""An address of this server, asked from inside it by batches, tools and GraphQL: a request like any other, counted and
traced."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.serving.access.budget import Purse
from rung.serving.access.call import RequestCall, enter, new_id
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import send_refused
from rung.serving.endpoints.endpoint import Piece
from rung.serving.endpoints.remote.stream import StreamReader
from rung.serving.observe.observers import Observers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Send


@dataclass(frozen=True, slots=True)
class InsideClient:
    """Asks ``app``, which stands at ``path``, on behalf of whoever's call is given."""

    app: ASGIApp
    path: str
    observers: Observers

    async def ask(self, body: bytes, call: RequestCall) -> tuple[int, dict[str, Any]]:
        """The status, and the answer's JSON."""
        status, parts = 500, []

        async def send(event: Any) -> None:
            nonlocal status
            status = event.get("status", status)
            parts.append(event.get("body", b""))

        await asyncio.create_task(self._run(body, call, send))
        found: dict[str, Any] = json.loads(b"".join(parts))
        return status, found

    async def stream(self, body: bytes, call: RequestCall) -> AsyncGenerator[Piece | dict[str, Any]]:
        """The pieces of a stream, or the error's object. Closed before its end, it ends the work."""
        waiting: asyncio.Queue[bytes | None] = asyncio.Queue(64)
        status = 500

        async def send(event: Any) -> None:
            nonlocal status
            status = event.get("status", status)
            if event.get("body"):
                await waiting.put(event["body"])

        async def run() -> None:
            try:
                await self._run(body, call, send)
            finally:
                await waiting.put(None)

        task, reader = asyncio.create_task(run()), StreamReader()
        try:
            while (part := await waiting.get()) is not None:
                if status != 200:
                    yield json.loads(part)
                    return
                try:
                    for piece in reader.feed(part):
                        yield piece
                except Refused as refused:  # the stream's own error event
                    yield refused.body()
                    return
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, body: bytes, outer: RequestCall, send: Send) -> None:
        scope: dict[str, Any] = {
            "type": "http", "method": "POST", "path": self.path, "raw_path": self.path.encode(), "query_string": b"",
            "root_path": "", "headers": [(b"content-type", b"application/json")], "http_version": "1.1",
            "scheme": "http", "rung.id": new_id("req-", 8),
        }  # fmt: skip
        # A call of its own: what is set aside and which way it went are this request's.
        call = RequestCall(outer.caller, Purse(outer.purse.accounts) if outer.purse is not None else None)
        self.observers.begin(scope, call, outer)
        started, asked, status = time.perf_counter(), False, 0

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def sent(event: Any) -> None:
            nonlocal status
            status = event.get("status", status)
            await send(event)

        enter(call)
        try:
            await self.app(scope, receive, sent)
        except Refused as refused:
            scope["rung.code"] = refused.code
            await send_refused(sent, refused)
        finally:
            # Nothing was sent: whoever asked has left.
            self.observers.tell(scope, scope.get("rung.status", status or 499), time.perf_counter() - started)
