"""What a server offers under a model id: whatever it is, it turns a chat request into the same events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from rung.core.protocols import Model
from rung.core.types import Finish, Message, ToolCall, Usage
from rung.serving.apis.wire.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of choice ``index`` as it comes. ``parts``: the pieces that it is made of, where several had come at
    once."""

    index: int
    text: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """Choice ``index`` is complete."""

    index: int
    text: str
    finish: Finish = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[float, ...] | None = None
    tokens: tuple[str, ...] = ()
    usage: Usage = Usage()
    extension: dict[str, Any] | None = field(default=None, compare=False)


class Endpoint(Protocol):
    """Something that can be asked under ``id``. ``reply`` yields the pieces of each choice and then the choice.

    It raises Refused, or a RungError, which ``refusal`` turns into one. With ``live`` False nobody reads the pieces.
    ``heard`` is the part of the conversation that the answer depends on.
    """

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def model(self) -> Model | None: ...

    def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]: ...
    def heard(self, request: ChatRequest) -> tuple[Message, ...]: ...


@dataclass(frozen=True)
class WrappedEndpoint:
    """What passes everything on to ``inner``: kinds of it change what they are for."""

    inner: Endpoint

    @property
    def id(self) -> str:
        return self.inner.id

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def created(self) -> int:
        return self.inner.created

    @property
    def model(self) -> Model | None:
        return self.inner.model

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        async with aclosing(self.inner.reply(request, live=live)) as events:
            async for event in events:
                yield event

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return self.inner.heard(request)
