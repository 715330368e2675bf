"""A model behind another server's URL, asked with OpenAI's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.parts import meter
from rung.core.protocols import Model
from rung.core.types import Message, ToolCall, Usage
from rung.models.prices import Price
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.upstream import broken, finish_of, read_choice, refusal_of, usage_of

if TYPE_CHECKING:
    import aiohttp

LINE = 1024 * 1024
"""Bytes of one event of a stream at most."""

BODY = 32 * 1024 * 1024
"""Bytes of a whole answer at most."""


class Connections:
    """One pool of connections an event loop, for all remote endpoints of a server; closed with it."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, enable_cleanup_closed=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=LINE,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """``url`` ends in /v1 or its like, ``upstream`` is the model's name there. ``key`` is sent as a bearer token, where there is
    one. Redirects are not followed, since they would take the key along."""

    id: str
    created: int
    url: str
    upstream: str
    connections: Connections = field(compare=False)
    key: str = field(default="", repr=False)
    price: Price | None = None

    @property
    def fingerprint(self) -> str:
        return digest(["remote", self.url, self.upstream])

    @property
    def model(self) -> Model | None:
        return None

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return tuple(message.message() for message in request.messages)

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        started = time.monotonic()
        response = await self._send(self._body(request, live))
        seen = _Seen(request)
        try:
            if response.status != 200:
                raise refusal_of(response.status, await _read(response, 65536), response.headers.get("retry-after"))
            if live and "text/event-stream" in response.content_type:
                async for event in self._stream(response, seen):
                    yield event
            else:
                for choice in self._whole(await _read(response, BODY), seen):
                    if live and choice.text:
                        yield Piece(choice.index, choice.text)
                    yield choice
        finally:
            response.close() if not response.content.at_eof() else response.release()
            usage = seen.usage(time.monotonic() - started)
            meter.report(Usage(**_fields(usage, money=self.price.money(usage))) if self.price else usage)

    def _body(self, request: ChatRequest, live: bool) -> bytes:
        body = request.model_dump(exclude_none=True, by_alias=True, exclude={"input", "rung", "user", "stream_options"})
        body |= {"model": self.upstream, "stream": live}
        if live:
            body["stream_options"] = {"include_usage": True}
        for message in body["messages"]:
            for call in message.get("tool_calls", ()):
                call["type"] = "function"
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

    async def _send(self, body: bytes) -> aiohttp.ClientResponse:
        """The response's head. A kept connection that the other side had closed is replaced by a new one, once."""
        import aiohttp

        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        for attempt in (1, 2):
            try:
                return await self.connections.session().post(
                    self.url + "/chat/completions", data=body, headers=headers, allow_redirects=False
                )
            except aiohttp.ServerDisconnectedError:
                if attempt == 2:
                    raise broken("closed the connection without an answer") from None
            except aiohttp.ClientConnectorError:
                raise broken("cannot be reached") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise broken(f"broke off ({type(error).__name__})") from None
        raise AssertionError

    def _whole(self, text: bytes, seen: _Seen) -> list[ChatChoice]:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise broken("answered 200 with something that is not JSON") from None
        if not isinstance(document, dict) or document.get("error") or not document.get("choices"):
            raise refusal_of(502, text, None)
        choices = [read_choice(choice) for choice in document["choices"]]
        seen.text.extend(choice.text for choice in choices)
        seen.told = usage_of(document.get("usage"))
        return [*choices[:-1], _with_usage(choices[-1], seen.usage(0.0))]

    async def _stream(self, response: aiohttp.ClientResponse, seen: _Seen) -> AsyncGenerator[Piece | ChatChoice]:
        """Pieces as they come, then the choices. What ends without a finish reason was cut, and says so."""
        texts: dict[int, list[str]] = {}
        finishes: dict[int, str] = {}
        calls: dict[int, dict[int, dict[str, str]]] = {}
        async for data in _events(response):
            if data == b"[DONE]":
                break
            try:
                chunk = json.loads(data)
            except (ValueError, RecursionError):
                raise broken("sent an event that is not JSON") from None
            if not isinstance(chunk, dict) or chunk.get("error"):
                raise refusal_of(502, data, None)
            if (told := chunk.get("usage")) is not None:
                seen.told = usage_of(told)
            for choice in chunk.get("choices") or ():
                index, delta = int(choice.get("index", 0)), choice.get("delta") or {}
                if text := delta.get("content"):
                    texts.setdefault(index, []).append(text)
                    seen.text.append(text)
                    yield Piece(index, text)
                for call in delta.get("tool_calls") or ():
                    _add_call(calls.setdefault(index, {}), call)
                if reason := choice.get("finish_reason"):
                    finishes[index] = reason
        if not finishes or set(texts) - set(finishes):
            raise broken("ended its stream before the answer was whole", code="stream_cut")
        seen.done = True
        last = max(finishes)
        for index in sorted(finishes):
            made = ChatChoice(
                index, "".join(texts.get(index, ())), finish_of(finishes[index]), _calls(calls.get(index, {}))
            )
            yield _with_usage(made, seen.usage(0.0)) if index == last else made


@dataclass(slots=True)
class _Seen:
    """What was received, for an answer whose usage is not told."""

    request: ChatRequest
    text: list[str] = field(default_factory=list)
    told: Usage | None = None
    done: bool = False

    def usage(self, seconds: float) -> Usage:
        if self.told is not None:
            return Usage(**_fields(self.told, calls=1, seconds=seconds))
        if not self.text:
            return Usage(seconds=seconds)
        prompt = sum(len(message.content or "") for message in self.request.messages) // 4 + 1
        return Usage(1, prompt, sum(map(len, self.text)) // 4 + 1, seconds=seconds)


def _fields(usage: Usage, **changes: Any) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__slots__} | changes


def _with_usage(choice: ChatChoice, usage: Usage) -> ChatChoice:
    from dataclasses import replace

    return replace(choice, usage=usage)


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    import aiohttp

    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.content.iter_any():
            size += len(part)
            if size > most:
                raise broken(f"sent more than {most:,} bytes")
            parts.append(part)
    except (aiohttp.ClientError, OSError) as error:
        raise broken(f"broke off ({type(error).__name__})", code="stream_cut") from None
    return b"".join(parts)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The ``data`` of each event."""
    import aiohttp

    rest = b""
    try:
        async for part in response.content.iter_any():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > LINE:
                raise broken(f"sent an event of more than {LINE:,} bytes")
            for line in lines:
                if line.startswith(b"data:"):
                    yield line[5:].strip()
        if rest.startswith(b"data:"):
            yield rest[5:].strip()
    except (aiohttp.ClientError, OSError) as error:
        raise broken(f"broke off ({type(error).__name__})", code="stream_cut") from None


def _add_call(calls: dict[int, dict[str, str]], part: Any) -> None:
    """A piece of a tool call, put with the others of its index; a second name under one index begins another call."""
    with suppress(TypeError, ValueError, AttributeError):
        function = part.get("function") or {}
        index = int(part.get("index", len(calls)))
        if part.get("id") and index in calls and calls[index]["id"] not in ("", part["id"]):
            index = max(calls) + 1
        call = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or str(part.get("id") or "")
        call["name"] += str(function.get("name") or "")
        call["arguments"] += str(function.get("arguments") or "")


def _calls(parts: dict[int, dict[str, str]]) -> tuple[ToolCall, ...]:
    made = []
    for index, part in sorted(parts.items()):
        try:
            arguments = json.loads(part["arguments"] or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict) or not part["name"]:
            raise broken("called a tool with arguments that are not a JSON object")
        made.append(ToolCall(part["id"] or f"call_{index}", part["name"], arguments))
    return tuple(made)
