"""A model behind another server's URL, asked with OpenAI's protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from rung.core.codec import digest
from rung.core.parts import meter
from rung.core.protocols import Model
from rung.core.types import Message, Usage
from rung.models.prices import Price
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.stream import LINE, StreamReader
from rung.serving.endpoints.upstream import broken, read_choice, refusal_of, usage_of

if TYPE_CHECKING:
    import aiohttp

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
        reader = StreamReader()
        usage = Usage()
        try:
            if response.status != 200:
                raise refusal_of(response.status, await _read(response, 65536), response.headers.get("retry-after"))
            if live and "text/event-stream" in response.headers.get("content-type", ""):
                while not reader.over and (part := await _part(response)):
                    for piece in reader.feed(part):
                        yield piece
                if not reader.over:
                    for piece in reader.end():
                        yield piece
                usage = self._usage(request, reader.told, reader.texts.values(), started)
                choices = reader.choices(usage)
                await _finish(response)
            else:
                choices, told = _whole(await _read(response, BODY))
                usage = self._usage(request, told, [[choice.text] for choice in choices], started)
                choices[-1] = replace(choices[-1], usage=usage)
                for choice in choices if live else ():
                    if choice.text:
                        yield Piece(choice.index, choice.text)
            for choice in choices:
                yield choice
        finally:
            response.close() if not response.content.at_eof() else response.release()
            meter.report(usage if usage.calls else self._usage(request, reader.told, reader.texts.values(), started))

    def _usage(self, request: ChatRequest, told: Usage | None, texts: Iterable[Iterable[str]], started: float) -> Usage:
        """What was told, else an estimate of what was received."""
        seconds, written = time.monotonic() - started, sum(len(text) for those in texts for text in those)
        if told is None and not written:
            return Usage(seconds=seconds)
        if told is None:
            prompt = sum(len(message.content or "") for message in request.messages) // 4 + 1
            told = Usage(1, prompt, written // 4 + 1)
        money = self.price.money(told) if self.price is not None else 0.0
        return replace(told, calls=1, seconds=seconds, money=money)

    def _body(self, request: ChatRequest, live: bool) -> bytes:
        name = orjson.dumps(self.upstream)
        way = b'true,"stream_options":{"include_usage":true}' if live else b"false"
        return b'{"model":%b,"stream":%b,%b' % (name, way, request.wire("input")[1:])

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


def _whole(text: bytes) -> tuple[list[ChatChoice], Usage | None]:
    try:
        document = orjson.loads(text)
    except ValueError:
        raise broken("answered 200 with something that is not JSON") from None
    choices = document.get("choices") if isinstance(document, dict) and not document.get("error") else None
    if not isinstance(choices, list) or not choices:
        raise refusal_of(502, text, None)
    return [read_choice(choice) for choice in choices], usage_of(document.get("usage"))


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


async def _part(response: aiohttp.ClientResponse) -> bytes:
    """What has come of a stream; empty: it is over."""
    import aiohttp

    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        raise broken(f"broke off ({type(error).__name__})", code="stream_cut") from None


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Read the end of a stream after its last event, so that the connection can be used again."""
    import aiohttp

    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        while not response.content.at_eof():
            async with asyncio.timeout(0.05):
                if not await response.content.readany():
                    return
