"""A bare language model behind its own name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from rung.core.protocols import Model
from rung.core.types import Message, Reply, Request, ResponseFormat, Sampling
from rung.models.wrap import closable
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused, hide_paths
from rung.serving.endpoints.compute import SHORT, compute
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.refusal import refuse

MAX_TOKENS = 1024
"""How long a bare model's answer may be when the request sets no limit."""


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

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        asked = await self._requests(request)
        if not live:
            for index, reply in enumerate(await self.bare.generate(asked)):
                yield _choice(index, reply, request)
            return
        queue: asyncio.Queue[Piece | ChatChoice | BaseException] = asyncio.Queue(maxsize=64)
        tasks = [asyncio.create_task(self._pump(index, one, queue, request)) for index, one in enumerate(asked)]
        try:
            open_choices = len(asked)
            while open_choices:
                event = await queue.get()
                if isinstance(event, BaseException):
                    raise event
                open_choices -= isinstance(event, ChatChoice)
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return tuple(message.message() for message in request.messages)

    async def _pump(
        self, index: int, asked: Request, queue: asyncio.Queue[Piece | ChatChoice | BaseException], request: ChatRequest
    ) -> None:
        reply: Reply | None = None
        try:
            async with aclosing(closable(self.bare.stream(asked))) as chunks:
                async for chunk in chunks:
                    if chunk.text:
                        await queue.put(Piece(index, chunk.text))
                    reply = chunk.reply or reply
            if reply is None:
                raise Refused(502, "the model's stream broke off", code="model_failed")
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


def _choice(index: int, reply: Reply, request: ChatRequest) -> ChatChoice:
    if reply.finish == "error":
        raise refuse(reply.code or "model", reply.text)
    calls = reply.tool_calls[:1] if request.parallel_tool_calls is False else reply.tool_calls
    return ChatChoice(index, reply.text, reply.finish, calls, reply.logprobs, reply.tokens, reply.usage)
