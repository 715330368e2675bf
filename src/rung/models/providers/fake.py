"""A model without a model: instant, deterministic, offline. For tests, dry runs and measuring what the ladder itself
costs.

``fake:echo`` answers by repeating the last user message and honours forms, tools, stop texts and length; ``fake:slow``
does so after 100 ms; ``fake:down`` never answers. Tests give rules, latency and failures of their own.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from rung.core.codec import canonical, digest
from rung.core.errors import ContextOverflow, InputError, ModelError, ServerError, Unsupported
from rung.core.settings import Settings
from rung.core.types import (
    Capabilities,
    Chunk,
    Message,
    Reply,
    Request,
    ResponseFormat,
    ScoreRequest,
    Scores,
    ToolCall,
    Usage,
)
from rung.models.providers.hosted import settle

Rule = Callable[[Request], str | Reply]

CAPABILITIES = Capabilities(
    forms=frozenset({"labels", "json", "number"}),
    score=True,
    tools=True,
    logprobs=True,
    seed=True,
    context=8192,
    local=True,
)


class Fake:
    """``rules``: a function of the request, or texts by a part of the last user message (the first that occurs wins;
    else echo). ``latency`` is seconds a call. ``failures`` are raised by the first calls in order; None lets a call
    through. ``capabilities`` with ``local=False`` makes ``wrap`` treat it as hosted. ``calls`` records every
    request."""

    def __init__(
        self,
        rules: Mapping[str, str] | Rule | None = None,
        *,
        name: str = "echo",
        latency: float = 0.0,
        failures: Iterable[ModelError | None] = (),
        capabilities: Capabilities = CAPABILITIES,
    ) -> None:
        self.name = f"fake:{name}"
        self.capabilities = capabilities
        self.latency = latency
        self.calls: list[Request | ScoreRequest] = []
        self.closed = False
        self._rules = rules
        self._failures = iter(failures)

    @property
    def fingerprint(self) -> str:
        rules = dict(self._rules) if isinstance(self._rules, Mapping) else getattr(self._rules, "__qualname__", "")
        return digest(["fake", self.name, rules])

    def count(self, messages: Sequence[Message]) -> int:
        """Words, and one for each message."""
        return sum(len(message.content.split()) + 1 for message in messages)

    async def close(self) -> None:
        self.closed = True

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        results: list[Reply | BaseException] = []
        for request in requests:
            try:
                await self._begin(request)
                results.append(self._answer(request))
            except ModelError as error:
                results.append(error)
        return settle(results, self.name)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        await self._begin(request)
        reply = self._answer(request)
        for piece in re.findall(r"\s*\S+\s*$|\s*\S+", reply.text):
            yield Chunk(piece)
        yield Chunk("", reply)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Candidates by the words they share with the last user message; ties by a hash, so never by their order."""
        out = []
        for request in requests:
            await self._begin(request)
            weights = _weights(_last(request.messages), request.candidates)
            top = max(weights)
            total = top + math.log(sum(math.exp(weight - top) for weight in weights))
            logprobs = tuple(weight - total for weight in weights)
            usage = Usage(calls=1, prompt_tokens=self.count(request.messages))
            out.append(Scores(logprobs, max(range(len(logprobs)), key=logprobs.__getitem__), usage))
        return out

    async def _begin(self, request: Request | ScoreRequest) -> None:
        self.calls.append(request)
        form = request.form.kind if isinstance(request, Request) else "text"
        if form != "text" and form not in self.capabilities.forms:
            raise Unsupported(
                f"{self.name} cannot decode under the form {form!r}",
                remedy=f"it has: {', '.join(sorted(self.capabilities.forms))}",
            )
        if self.latency:
            await asyncio.sleep(self.latency)
        if (failure := next(self._failures, None)) is not None:
            raise failure
        if self.count(request.messages) > self.capabilities.context:
            raise ContextOverflow(
                f"{self.name}: {self.count(request.messages)} tokens do not fit its context of {self.capabilities.context}",
                remedy="shorten the prompt, or set overflow: truncate in the task file",
            )

    def _answer(self, request: Request) -> Reply:
        said = self._say(request)
        reply = said if isinstance(said, Reply) else self._shaped(request, said)
        words = reply.text.split()
        usage = Usage(calls=1, prompt_tokens=self.count(request.messages), completion_tokens=len(words))
        logprobs = (0.0,) * len(words) if request.sampling.logprobs else None  # it is certain of every word
        tokens = tuple(re.findall(r"\s*\S+(?:\s+\Z)?", reply.text)) if logprobs else ()
        return Reply(reply.text, reply.finish, usage, self.name, reply.tool_calls, logprobs, tokens=tokens)

    def _say(self, request: Request) -> str | Reply:
        if callable(self._rules):
            return self._rules(request)
        last = _last(request.messages)
        for part, text in (self._rules or {}).items():
            if part in last:
                return text
        if request.messages and request.messages[-1].role == "tool":
            return request.messages[-1].content
        for tool in request.tools:
            if tool.name in last:
                arguments = _instance(tool.schema, last)
                return Reply("", "tool_calls", tool_calls=(ToolCall(f"call_{digest(last)[:8]}", tool.name, arguments),))
        return _formed(request.form, last)

    def _shaped(self, request: Request, text: str) -> Reply:
        """Cut at stop texts and at the length that was asked for."""
        ends = [at for stop in request.sampling.stop if (at := text.find(stop)) >= 0]
        if ends:
            text = text[: min(ends)]
        words = list(re.finditer(r"\S+", text))
        if len(words) > request.sampling.max_tokens:
            return Reply(text[: words[request.sampling.max_tokens].start()].rstrip(), "length")
        return Reply(text)


def open_model(name: str, settings: Settings) -> Fake:
    """``echo``, ``slow`` or ``down``. Raises InputError for another name."""
    if name == "down":
        return Fake(
            name=name, failures=_always(ServerError("fake:down never answers", remedy="use fake:echo", status=503))
        )
    if name not in ("echo", "slow"):
        raise InputError(f"there is no fake model {name!r}", remedy="known: fake:echo, fake:slow, fake:down")
    return Fake(name=name, latency=0.1 if name == "slow" else 0.0)


def _always(error: ModelError) -> Iterable[ModelError]:
    while True:
        yield error


def _last(messages: Sequence[Message]) -> str:
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def _weights(text: str, candidates: Sequence[str]) -> list[float]:
    said = _words(text)
    return [
        3.0 * len(said & _words(candidate)) + int(digest([text, candidate])[:4], 16) / 0x10000
        for candidate in candidates
    ]


def _formed(form: ResponseFormat, text: str) -> str:
    if form.kind == "labels" and form.labels:
        weights = _weights(text, form.labels)
        return form.labels[weights.index(max(weights))]
    if form.kind == "json":
        return json.dumps(_instance(form.schema, text), ensure_ascii=False)
    if form.kind == "number":
        return _number(text)
    return text


def _number(text: str) -> str:
    found = re.search(r"-?\d+(\.\d+)?", text)
    return found.group() if found else "0"


def _instance(schema: Mapping[str, Any], text: str) -> Any:
    """The plainest value valid under a JSON schema's types, enums and required properties, filled from ``text``."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        weights = _weights(
            text, [option if isinstance(option, str) else canonical(option) for option in schema["enum"]]
        )
        return schema["enum"][weights.index(max(weights))]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _instance(schema[key][0], text)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _instance(inner, text) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_instance(schema.get("items", {}), text) for _ in range(schema.get("minItems", 0))]
    if kind in ("integer", "number"):
        value = float(_number(text))
        value = min(max(value, schema.get("minimum", value)), schema.get("maximum", math.inf))
        return int(value) if kind == "integer" else value
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    return text[: schema.get("maxLength", 200)]
