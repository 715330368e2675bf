"""A model behind another server's URL, asked with OpenAI's protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from rung.core.codec import digest
from rung.core.parts import meter
from rung.core.protocols import Model
from rung.core.types import Message, Usage
from rung.models.prices import Price
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.remote.connection import Connections, UpstreamConnection
from rung.serving.endpoints.remote.stream import StreamReader
from rung.serving.endpoints.remote.upstream import broken, read_choice, refusal_of, usage_of

BODY = 32 * 1024 * 1024
"""Bytes of a whole answer at most."""


@dataclass(frozen=True, slots=True)
class RemoteEndpoint:
    """``url`` ends in /v1 or its like, ``upstream`` is the model's name there. ``key`` is sent as a bearer token, where
    there is one. Redirects are not followed, since they would take the key along."""

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
        answer = await self.connections.post(self.url + "/chat/completions", self.key, self._body(request, live))
        reader = StreamReader()
        usage = NOTHING
        try:
            if answer.status != 200:
                retry = answer.headers.get(b"retry-after", b"").decode("latin-1")
                raise refusal_of(answer.status, await _read(answer, 65536), retry or None)
            if live and b"text/event-stream" in answer.headers.get(b"content-type", b""):
                while not reader.over and (part := await answer.part()):
                    for piece in reader.feed(part):
                        yield piece
                if not reader.over:
                    for piece in reader.end():
                        yield piece
                usage = self._usage(request, reader.told, reader.texts.values(), started)
                choices = reader.choices(usage)
                await _finish(answer)
            else:
                choices, told = _whole(await _read(answer, BODY))
                usage = self._usage(request, told, [[choice.text] for choice in choices], started)
                last = choices[-1]
                choices[-1] = ChatChoice(
                    last.index, last.text, last.finish, last.tool_calls, last.logprobs, last.tokens, usage
                )
                for choice in choices if live else ():
                    if choice.text:
                        yield Piece(choice.index, choice.text)
            for choice in choices:
                yield choice
        finally:
            answer.release()
            meter.report(usage if usage.calls else self._usage(request, reader.told, reader.texts.values(), started))

    def _usage(self, request: ChatRequest, told: Usage | None, texts: Iterable[Iterable[str]], started: float) -> Usage:
        """What was told, else an estimate of what was received."""
        seconds = time.monotonic() - started
        if told is None:
            written = sum(len(text) for those in texts for text in those)
            if not written:
                return Usage(seconds=seconds)
            prompt = sum(len(message.content or "") for message in request.messages) // 4 + 1
            told = Usage(1, prompt, written // 4 + 1)
        money = self.price.money(told) if self.price is not None else 0.0
        return Usage(1, told.prompt_tokens, told.completion_tokens, told.cached_tokens, seconds, 0.0, money)

    def _body(self, request: ChatRequest, live: bool) -> bytes:
        name = orjson.dumps(self.upstream)
        way = b'true,"stream_options":{"include_usage":true}' if live else b"false"
        return b'{"model":%b,"stream":%b,%b' % (name, way, request.wire("input")[1:])


NOTHING = Usage()


def _whole(text: bytes) -> tuple[list[ChatChoice], Usage | None]:
    try:
        document = orjson.loads(text)
    except ValueError:
        raise broken("answered 200 with something that is not JSON") from None
    choices = document.get("choices") if isinstance(document, dict) and not document.get("error") else None
    if not isinstance(choices, list) or not choices:
        raise refusal_of(200, text, None)
    return [read_choice(choice) for choice in choices], usage_of(document.get("usage"))


async def _read(answer: UpstreamConnection, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await answer.part():
        size += len(part)
        if size > most:
            raise broken(f"sent more than {most:,} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _finish(answer: UpstreamConnection) -> None:
    """Read the end of a stream after its last event, so that the connection can be used again."""
    with suppress(Refused, TimeoutError):
        while not answer.over:
            async with asyncio.timeout(0.05):
                if not await answer.part():
                    return
