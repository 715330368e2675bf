"""/graphql: queries and mutations by POST, subscriptions as server-sent events (GraphQL over SSE, distinct
connections)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rung.serving.apis.graph.schema import GraphContext, make_schema
from rung.serving.apis.inside import InsideClient
from rung.serving.apis.wire.chat import Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import to_bytes
from rung.serving.apis.wire.send import send_bytes, send_refused
from rung.serving.http.chat import read_body
from rung.serving.http.limits import Limits
from rung.store import Store

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

LONGEST = 20_000
"""Characters of a document."""


class GraphRequest(Readable):
    """The body of POST /graphql."""

    query: str = Field(min_length=1, max_length=LONGEST)
    variables: dict[str, Any] | None = None
    operationName: str | None = Field(default=None, max_length=200)


class GraphApp:
    """The application at /graphql over a store and this server's own chat address."""

    path = "/graphql"

    def __init__(self, store: Store | None, chat: InsideClient, limits: Limits) -> None:
        self._store, self._chat, self._limits = store, chat, limits
        self._schema = make_schema()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["rung.path"] = self.path
        try:
            asked = parse_body(GraphRequest, await read_body(receive, self._limits))
        except Refused as refused:
            scope["rung.code"] = refused.code
            await send_refused(send, refused)
            return
        context = GraphContext(self._store, scope["rung.call"], self._chat.ask, self._chat.stream)
        named: dict[str, Any] = {
            "variable_values": asked.variables, "context_value": context, "operation_name": asked.operationName
        }  # fmt: skip
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        try:
            async with asyncio.timeout(self._limits.deadline):
                if b"text/event-stream" in accept:
                    await self._subscribe(asked.query, named, receive, send)
                else:
                    result = await self._schema.execute(asked.query, **named)
                    await send_bytes(send, to_bytes(_wire(result)))
        except TimeoutError:
            scope["rung.code"] = "deadline_exceeded"

    async def _subscribe(self, query: str, named: dict[str, Any], receive: Receive, send: Send) -> None:
        """Events until the end, or until the client leaves: then what is at work for it is ended."""
        head = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": head})

        async def work() -> None:
            found = await self._schema.subscribe(query, **named)
            if not hasattr(found, "__aiter__"):
                await _event(send, "next", _wire(found))
            else:
                try:
                    async for result in found:
                        await _event(send, "next", _wire(result))
                finally:
                    await found.aclose()
            await send({"type": "http.response.body", "body": b"event: complete\ndata:\n\n", "more_body": False})

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        tasks = [asyncio.create_task(work()), asyncio.create_task(watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _event(send: Send, name: str, value: dict[str, Any]) -> None:
    body = f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode("utf-8", "backslashreplace")
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _wire(result: Any) -> dict[str, Any]:
    """A result as clients read it. What went wrong inside is for the log."""
    out: dict[str, Any] = {"data": result.data}
    if result.errors:
        out["errors"] = [_error(error) for error in result.errors]
    return out


def _error(error: Any) -> dict[str, Any]:
    told = dict(error.formatted)
    if error.original_error is not None and not error.extensions:
        told["message"] = "the server failed on this field; its log says why"
    return told
