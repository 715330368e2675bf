"""What a server endpoints under a model id: a program, or a bare model. Both turn a chat request into the same events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rung.core.codec import encode, spell
from rung.core.errors import (
    InputError,
    ModelError,
    RateLimited,
    RungError,
    Unsupported,
)
from rung.core.protocols import Model
from rung.core.types import (
    Answer,
    Failure,
    Finish,
    Input,
    Message,
    Reply,
    Request,
    ResponseFormat,
    Sampling,
    ToolCall,
    Usage,
    text_of,
)
from rung.serving.compute import SHORT, Pace, compute, size
from rung.serving.limits import CHARACTERS
from rung.serving.local import Opened, as_fields, stream_answer
from rung.serving.wire import ChatRequest, Refused, hide_paths

MAX_TOKENS = 1024
"""How long a bare model's answer may be when the request sets no limit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of choice ``index`` as it comes."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Choice:
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

    It raises Refused, or a RungError, which ``refusal`` turns into one. With ``live`` False nobody reads the pieces. ``heard`` is the
    part of the conversation that the answer depends on.
    """

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def model(self) -> Model | None: ...

    def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | Choice]: ...
    def heard(self, request: ChatRequest) -> tuple[Message, ...]: ...


# ---------------------------------------------------------------- programs


@dataclass(frozen=True, slots=True)
class ProgramEndpoint:
    """A program: the last user message is its input (or the request's ``input``), its parsed output the answer.

    Earlier messages and sampling fields change nothing: the program answers as it was evaluated.
    """

    opened: Opened
    created: int
    detail: bool = True
    characters: int = CHARACTERS
    pace: Pace = field(default_factory=Pace, compare=False)

    @property
    def id(self) -> str:
        return f"rung/{self.opened.name}"

    @property
    def fingerprint(self) -> str:
        return self.opened.fingerprint

    @property
    def model(self) -> Model | None:
        return self.opened.program.model

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | Choice]:
        if (request.n or 1) > 1:
            raise Refused(400, "n: a program gives one answer, expected 1", param="n", code="invalid_value")
        value = self._input(request)
        wanted = bool(request.rung) and self.detail
        text = []
        answer: Answer | None = None
        if live and self.opened.program.model is not None:
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
        yield Choice(0, "".join(text), usage=answer.usage, extension=extension)

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return (Message("user", text_of(self._input(request))),)

    def _input(self, request: ChatRequest) -> Input:
        fields = self.opened.fields
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
            found = as_fields(value, fields)
        except InputError as error:
            raise Refused(400, f"{param}: {error.message}; {error.remedy}", param=param, code="invalid_input") from None
        if (length := size(found)) > self.characters:
            said = f"{param}: the input has {length:,} characters; a program takes {self.characters:,} at most here"
            raise Refused(400, said, param=param, code="string_above_max_length", again=False)
        return found


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


_FAILURES: dict[str, tuple[int, str, str, bool]] = {
    "overflow": (400, "invalid_request_error", "context_length_exceeded", False),
    "parse": (422, "answer_error", "answer_unparsable", False),
    "model": (502, "server_error", "model_failed", True),
    "budget": (429, "insufficient_quota", "budget_exceeded", False),
    "program": (500, "server_error", "program_failed", False),
    "metric": (500, "server_error", "program_failed", False),
}


def failed(failure: Failure, extension: dict[str, Any] | None) -> Refused:
    """A failed answer as an error object: no text is given out that was not the program's answer."""
    status, kind, code, again = _FAILURES[failure.where]
    return Refused(status, failure.message, kind=kind, code=code, again=again, extension=extension)


_REFUSALS: dict[str, tuple[int, str, str, bool]] = {
    "context-overflow": _FAILURES["overflow"],
    "unsupported": (400, "invalid_request_error", "unsupported", False),
    "input": (400, "invalid_request_error", "unsupported", False),
    "rate-limited": (429, "rate_limit_error", "rate_limited", True),
    "budget": _FAILURES["budget"],
    "form": (400, "invalid_request_error", "unsupported", False),
    "refused": (502, "server_error", "model_failed", False),
    "timeout": (504, "server_error", "model_timeout", True),
    "server": _FAILURES["model"],
    "model": (502, "server_error", "model_failed", False),
}
_PARENTS: tuple[tuple[type[RungError], str], ...] = (
    (InputError, "input"),
    (Unsupported, "unsupported"),
    (ModelError, "model"),
)


def refusal(error: RungError) -> Refused:
    """An error raised on purpose as an error object: its sentence, never its remedy (which is for whoever runs the server)."""
    code = error.code
    if code not in _REFUSALS:
        code = next((parent for kind, parent in _PARENTS if isinstance(error, kind)), "")
    wait = (error.retry_after or 1) if isinstance(error, RateLimited) else None
    return _refused(code, error.message, wait)


def _refused(code: str, message: str, wait: float | None = None) -> Refused:
    status, kind, shown, again = _REFUSALS.get(code, _FAILURES["program"])
    said = "the model behind this server refused its key" if code == "refused" else message
    return Refused(status, said, kind=kind, code=shown, again=again, retry_after=wait)


# ---------------------------------------------------------------- bare models


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """A bare language model under its own name (or ``name``), with OpenAI's defaults (temperature 1, no seed)."""

    bare: Model
    created: int
    name: str = ""

    @property
    def id(self) -> str:
        return self.name or hide_paths(self.bare.name)

    @property
    def fingerprint(self) -> str:
        return self.bare.fingerprint

    @property
    def model(self) -> Model | None:
        return self.bare

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | Choice]:
        asked = await self._requests(request)
        if not live:
            for index, reply in enumerate(await self.bare.generate(asked)):
                yield _choice(index, reply, request)
            return
        queue: asyncio.Queue[Piece | Choice | BaseException] = asyncio.Queue(maxsize=64)
        tasks = [asyncio.create_task(self._pump(index, one, queue, request)) for index, one in enumerate(asked)]
        try:
            open_choices = len(asked)
            while open_choices:
                event = await queue.get()
                if isinstance(event, BaseException):
                    raise event
                open_choices -= isinstance(event, Choice)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return tuple(message.message() for message in request.messages)

    async def _pump(
        self, index: int, asked: Request, queue: asyncio.Queue[Piece | Choice | BaseException], request: ChatRequest
    ) -> None:
        reply: Reply | None = None
        try:
            async with aclosing(_closable(self.bare.stream(asked))) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        await queue.put(Piece(index, chunk.text))
                    reply = chunk.reply or reply
            if reply is None:
                raise Refused(502, "the model's stream broke off", kind="server_error", code="model_failed")
            await queue.put(_choice(index, reply, request))
        except Exception as error:
            await queue.put(error)

    async def _requests(self, request: ChatRequest) -> list[Request]:
        can = self.bare.capabilities
        messages = self.heard(request)
        _refuse_unheard(request)
        if request.logprobs and not can.logprobs:
            raise _lacks(self.id, "logprobs", "gives no log-probabilities")
        choice = request.tool_choice
        tools = () if choice == "none" else tuple(tool.spec() for tool in request.tools or ())
        if tools and not can.tools:
            raise _lacks(self.id, "tools", "takes no tools")
        if choice not in (None, "none", "auto"):
            raise _lacks(self.id, "tool_choice", "cannot be made to call a tool; expected auto or none")
        form = _form(request)
        if form.closed and form.kind not in can.forms:
            raise _lacks(self.id, "response_format", "cannot decode under a JSON schema")
        limit = request.max_completion_tokens or request.max_tokens
        if not limit:
            long = sum(len(message.content) for message in messages) > SHORT
            used = await compute(lambda: self.bare.count(messages)) if long else self.bare.count(messages)
            limit = max(1, min(MAX_TOKENS, can.context - used))
        sampling = Sampling(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else max(request.top_p, 1e-6),  # 0 means the likeliest token alone
            top_k=request.top_k or 0,
            max_tokens=limit,
            seed=request.seed,
            stop=tuple(request.stop or ()),
            logprobs=bool(request.logprobs),
        )
        return [
            Request(
                messages,
                # Choices of one seeded request differ from one another, and are the same when it is asked again.
                sampling if request.seed is None else replace(sampling, seed=request.seed + repeat),
                form,
                tools,
                repeat,
            )
            for repeat in range(request.n or 1)
        ]


def _lacks(name: str, param: str, said: str) -> Refused:
    return Refused(400, f"{param}: {name} {said}", param=param, code="unsupported", again=False)


def _refuse_unheard(request: ChatRequest) -> None:
    """Refuse what would change the answer and is not there: to ignore it would be to answer another question."""
    for name in (
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "top_logprobs",
        "functions",
        "function_call",
        "audio",
        "web_search_options",
    ):
        if getattr(request, name):
            raise Refused(400, f"{name}: not supported here; leave it out", param=name, code="unsupported", again=False)
    if request.modalities not in (None, ["text"]):
        raise Refused(400, "modalities: only text is given here", param="modalities", code="unsupported", again=False)


def _form(request: ChatRequest) -> ResponseFormat:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return ResponseFormat()
    if wanted.type == "json_object":
        return ResponseFormat("json", schema={"type": "object"})
    schema = wanted.json_schema.schema_ if wanted.json_schema is not None else None
    if schema is None:
        raise Refused(
            400,
            "response_format.json_schema.schema: field required",
            param="response_format",
            code="missing_required_parameter",
        )
    return ResponseFormat("json", schema=schema)


def _choice(index: int, reply: Reply, request: ChatRequest) -> Choice:
    if reply.finish == "error":
        raise _refused(reply.code or "model", reply.text)
    calls = reply.tool_calls[:1] if request.parallel_tool_calls is False else reply.tool_calls
    return Choice(index, reply.text, reply.finish, calls, reply.logprobs, reply.tokens, reply.usage)


async def _closable(chunks: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
