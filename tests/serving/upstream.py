"""A server that speaks OpenAI's protocol badly, on a loopback socket: what it does wrong is the model's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Upstream:
    """``asked`` are the bodies that came, ``headers`` the heads. Models: ok, slow, down (500), busy (429), stall, cut, garbage,
    error200, html, negative, toolong (400), denied (401), tools, refuse (400), drop (closes without an answer)."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.left = asyncio.Event()
        self.port = 0
        self._readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._readers[writer] = reader
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length"))
                body = json.loads(await reader.readexactly(length))
                self.asked.append(body)
                self.heads.append(head)
                if not await self.answer(body, writer):
                    break
        writer.close()

    async def answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        kind, live = body["model"].partition("-")[0], bool(body.get("stream"))
        text = "said: " + str(body["messages"][-1]["content"])
        if kind == "drop":
            return False
        if kind == "stall" and not live:
            await self._wait(writer)
            return False
        if kind == "slow":
            await asyncio.sleep(0.2)
        errors = {
            "down": (500, "server_error", "boom"),
            "busy": (429, "rate_limit_exceeded", "slow down"),
            "toolong": (400, "context_length_exceeded", "too long for me"),
            "denied": (401, "invalid_api_key", "secret detail"),
            "refuse": (400, "invalid_value", "no such thing"),
        }
        if kind in errors:
            status, code, said = errors[kind]
            self._send(writer, status, {"error": {"message": said, "code": code}}, "retry-after: 1\r\n")
            return True
        if kind == "error200":
            self._send(writer, 200, {"error": {"message": "not really", "code": "x"}})
            return True
        if kind == "html":
            self._raw(writer, 200, b"<html>welcome</html>", "text/html")
            return True
        if kind == "garbage" and not live:
            self._raw(writer, 200, b'{"choices": [', "application/json")
            return True
        usage: Any = {**USAGE, "prompt_tokens": -5} if kind == "negative" else USAGE
        if not live:
            message: dict[str, Any] = {"role": "assistant", "content": text}
            finish = "stop"
            if kind == "tools":
                call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
                message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._send(writer, 200, {"choices": [choice], "usage": usage})
            return True
        return await self._stream(kind, text, usage, writer)

    async def _stream(self, kind: str, text: str, usage: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if kind == "stall":
            await self._wait(writer)
            return False
        if kind == "garbage":
            self._chunk(writer, "{not json")
            return False
        if kind == "tools":
            for part in (
                {"id": "c1", "function": {"name": "look", "arguments": '{"a'}},
                {"function": {"arguments": 't": 1}'}},
            ):
                self._chunk(writer, {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **part}]}}]})
            self._end(writer, "tool_calls", usage)
            return True
        for at, word in enumerate(text.split(" ")):
            if kind == "cut" and at == 2:
                return False
            self._chunk(writer, {"choices": [{"index": 0, "delta": {"content": (" " if at else "") + word}}]})
            await writer.drain()
            if kind == "halt" and at == 1:
                await self._wait(writer)
                return False
            await asyncio.sleep(0.05 if kind == "slow" else 0)
        self._end(writer, "stop", usage)
        return True

    def _end(self, writer: asyncio.StreamWriter, finish: str, usage: Any) -> None:
        self._chunk(writer, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        self._chunk(writer, {"choices": [], "usage": usage})
        self._chunk(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")

    async def _wait(self, writer: asyncio.StreamWriter) -> None:
        try:
            while not (writer.transport.is_closing() or self._readers[writer].at_eof()):
                await asyncio.sleep(0.01)
        finally:
            self.left.set()

    def _chunk(self, writer: asyncio.StreamWriter, event: Any) -> None:
        data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _send(self, writer: asyncio.StreamWriter, status: int, value: Any, extra: str = "") -> None:
        self._raw(writer, status, json.dumps(value).encode(), "application/json", extra)

    def _raw(self, writer: asyncio.StreamWriter, status: int, body: bytes, kind: str, extra: str = "") -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    found = Upstream()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
