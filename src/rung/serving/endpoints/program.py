"""A program behind a model id."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from rung.core.codec import encode, spell
from rung.core.errors import InputError
from rung.core.protocols import Conversing, Model
from rung.core.types import Answer, Input, Message, text_of
from rung.core.types.trail import Trail, recording
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused, hide_paths
from rung.serving.endpoints.compute import Pace, size
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.local import Opened, as_fields, stream_answer
from rung.serving.endpoints.refusal import failed
from rung.serving.http.limits import CHARACTERS
from rung.store import Store

EPISODES = ("agent", "workflow")
"""Kinds of programs whose answers are episodes, which are kept."""


def trail_of(opened: Opened, store: Store | None) -> Trail | None:
    """Where a program's episodes are kept: in ``store``; None for a program that has none."""
    return store.episodes.trail() if store is not None and opened.program.kind in EPISODES else None


@dataclass(frozen=True, slots=True)
class ProgramEndpoint:
    """A program: the last user message is its input (or the request's ``input``), its parsed output the answer.

    Earlier messages and sampling fields change nothing: the program answers as it was evaluated. But one that
    converses, an agent, hears all of them; what it does is kept in ``trail``, where there is one.
    """

    opened: Opened
    created: int
    detail: bool = True
    characters: int = CHARACTERS
    pace: Pace = field(default_factory=Pace, compare=False)
    trail: Trail | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return f"rung/{self.opened.name}"

    @property
    def fingerprint(self) -> str:
        return self.opened.fingerprint

    @property
    def model(self) -> Model | None:
        return self.opened.program.model

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        if (request.n or 1) > 1:
            raise Refused(400, "n: a program gives one answer, expected 1", param="n", code="invalid_value")
        value = self._input(request)
        wanted = bool(request.rung) and self.detail
        text = []
        answer: Answer | None = None
        if self.trail is not None:
            answer = await self._kept(request, value, self.trail)
            text.append(_text(answer))
            if live and answer.failure is None:
                yield Piece(0, text[0])
        elif live and self.opened.program.model is not None:
            async with aclosing(stream_answer(self.opened.program, value)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Answer):
                        answer = piece
                    else:
                        text.append(piece)
                        yield Piece(0, piece)
        else:
            answer = await self.pace.answer(self.opened.program, value)
            text.append(_text(answer))
            if live and answer.failure is None:
                yield Piece(0, text[0])
        assert answer is not None
        extension = describe(answer, self.opened) if wanted else None
        if answer.failure is not None:
            raise failed(answer.failure, extension)
        yield ChatChoice(0, "".join(text), usage=answer.usage, extension=extension)

    async def _kept(self, request: ChatRequest, value: Input, trail: Trail) -> Answer:
        """An answer whose episode is kept; of a conversation it is the one that has gone on since its beginning."""
        program = self.opened.program
        with recording(trail):
            if request.input is not None or not isinstance(program, Conversing) or not program.converses:
                return await program(value)
            return await program.converse([one.message() for one in request.messages], owner=request.user or "")

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        value = self._input(request)
        if self.trail is not None and request.input is None:
            return tuple(message.message() for message in request.messages)
        return (Message("user", text_of(value)),)

    def _input(self, request: ChatRequest) -> Input:
        found = read_input(request, self.opened.fields)
        if (length := size(found)) > self.characters:
            param = "messages" if request.input is None else "input"
            said = f"{param}: the input has {length:,} characters; a program takes {self.characters:,} at most here"
            raise Refused(400, said, param=param, code="string_above_max_length", again=False)
        return found


def read_input(request: ChatRequest, fields: Sequence[str]) -> Input:
    """A program's input: the request's ``input``, else its last user message (JSON, for several fields). Raises
    Refused."""
    value: Any = request.input
    param = "input"
    if value is None:
        param = "messages"
        last = next((message for message in reversed(request.messages) if message.role == "user"), None)
        if last is None or last.content is None:
            raise Refused(400, "messages: expected a user message with a content", param=param)
        value = last.content
        if len(fields) > 1:
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
    try:
        return as_fields(value, fields)
    except InputError as error:
        raise Refused(400, f"{param}: {error.message}; {error.remedy}", param=param, code="invalid_input") from None


def _text(answer: Answer) -> str:
    return spell(answer.output) if answer.failure is None else ""


def describe(answer: Answer, opened: Opened) -> dict[str, Any]:
    """The extension object ``rung``: what a program's answer holds beyond its text."""
    return {
        "program": opened.fingerprint,
        "output": answer.output,
        "raw": answer.raw,
        "confidence": answer.confidence,
        "failure": {**encode(answer.failure), "message": hide_paths(answer.failure.message)}
        if answer.failure
        else None,
        "steps": [encode(step) for step in answer.steps],
    }
