"""Spans of what is answered, sent to an OpenTelemetry collector: OTLP over HTTP in JSON, with the names of the
conventions for generative AI (``gen_ai.*``). Off, it costs nothing; on, a request leaves its facts in memory and is
written out beside the answers.

Sources: OpenTelemetry semantic conventions for generative AI and for HTTP, W3C Trace Context, OTLP/JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rung.agents.trace.otel import attributes, span
from rung.core import __version__
from rung.core.types import Usage
from rung.serving.access.call import RequestCall
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import to_bytes
from rung.serving.endpoints.endpoint import ChatChoice
from rung.serving.endpoints.remote.connection import Connections

if TYPE_CHECKING:
    from starlette.types import Scope

logger = logging.getLogger("rung.serving")

QUEUE = 8192
"""Requests that wait to be sent at most; more are left out, and counted."""

BATCH = 256
"""Requests in one export."""

EVERY = 1.0
"""Seconds between exports."""

PATIENCE = 10.0
"""Seconds that a collector may take."""

_PARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_ERROR = 2


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What is known of a request that is over. Times in seconds; ``began`` since 1970."""

    scope: Scope
    path: str
    status: int
    began: float
    seconds: float


@dataclass
class Spans:
    """Collects and sends. ``url`` is the collector's, with or without /v1/traces; ``content``: with what was asked and
    answered. ``lost`` counts requests whose spans nobody got."""

    url: str
    content: bool = False
    lost: int = field(default=0, init=False)
    sent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.url.endswith("/v1/traces"):
            self.url = self.url.rstrip("/") + "/v1/traces"
        self._waiting: deque[RequestFacts] = deque()
        self._connections = Connections()

    def trace(
        self, headers: Iterable[tuple[bytes, bytes]], within: tuple[str, str, str] | None
    ) -> tuple[str, str, str]:
        """Trace, parent and id of a new span: in ``within``, or in what a caller names."""
        trace, parent = (within[0], within[2]) if within is not None else _parent(headers)
        return trace, parent, secrets.token_hex(8)

    def request(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        """Note a request that is over."""
        if len(self._waiting) >= QUEUE:
            self._lose(1)
            return
        self._waiting.append(RequestFacts(scope, path, status, time.time() - seconds, seconds))

    async def keep(self) -> None:
        """Send what has come, every second, until cancelled; then the rest."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())
            await self._connections.close()

    async def flush(self) -> None:
        """Send all that waits. What a collector does not take after two tries is lost, and told in the log."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            body = to_bytes(export(batch, content=self.content))
            if await self._post(body) or await self._post(body):
                self.sent += len(batch)
            else:
                self._lose(len(batch))

    async def _post(self, body: bytes) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._connections.post(self.url, "", body)
                try:
                    while await answer.part():
                        pass
                finally:
                    answer.release()
                return answer.status < 300
        except (Refused, TimeoutError):
            return False

    def _lose(self, count: int) -> None:
        before, self.lost = self.lost, self.lost + count
        if before.bit_length() < self.lost.bit_length():
            logger.error("the spans of %d requests could not be sent to %s", self.lost, self.url)


def export(batch: Sequence[RequestFacts], *, content: bool = False) -> dict[str, Any]:
    """The OTLP export request: a server span for each request, and a ``chat`` (or ``embeddings``) span in it where a
    model was asked. A caller's ``traceparent`` goes on."""
    spans = [made for facts in batch for made in _spans(facts, content)]
    resource = {"attributes": attributes({"service.name": "rung", "service.version": __version__})}
    scope = {"name": "rung.serving", "version": __version__}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


def _spans(facts: RequestFacts, content: bool) -> Iterable[dict[str, Any]]:
    scope = facts.scope
    call: RequestCall | None = scope.get("rung.call")
    trace, parent, own = scope.get("rung.trace") or (*_parent(scope.get("headers", ())), secrets.token_hex(8))
    code, model = str(scope.get("rung.code") or ""), str(scope.get("rung.model") or "")
    when = (facts.began, facts.began + facts.seconds)
    about: dict[str, Any] = {
        "http.request.method": scope["method"],
        "http.route": facts.path,
        "http.response.status_code": facts.status,
        "rung.request.id": scope["rung.id"],
    }
    if call is not None:
        said = {"rung.tenant": call.caller.tenant, "rung.key": call.caller.key, "rung.degraded": call.degraded,
                "rung.cache": call.cache, "rung.tried": "; ".join(call.tries)}  # fmt: skip
        about |= {name: value for name, value in said.items() if value}
    whole = _made((trace, parent, own), f"{scope['method']} {facts.path}", when, about, 2)
    yield _failed(whole, code, facts.status)
    if model:
        inner = _asked(scope, model, call, content)
        name = f"{inner['gen_ai.operation.name']} {model}"
        yield _failed(_made((trace, own, secrets.token_hex(8)), name, when, inner, 3), code, facts.status)


def _asked(scope: Scope, model: str, call: RequestCall | None, content: bool) -> dict[str, Any]:
    """The attributes of what was asked of a model."""
    asked: ChatRequest | None = scope.get("rung.asked")
    choices: Sequence[ChatChoice] = scope.get("rung.choices", ())
    usage: Usage | None = scope.get("rung.usage")
    about: dict[str, Any] = {
        "gen_ai.operation.name": "chat" if asked is not None else "embeddings",
        "gen_ai.provider.name": "rung",
        "gen_ai.request.model": model,
    }
    if call is not None and call.served_by:
        about["gen_ai.response.model"] = call.served_by
    if asked is not None:
        limit = asked.max_completion_tokens or asked.max_tokens
        said = {"temperature": asked.temperature, "top_p": asked.top_p, "seed": asked.seed, "max_tokens": limit,
                "stream": asked.stream}  # fmt: skip
        about |= {f"gen_ai.request.{name}": value for name, value in said.items() if value is not None}
    if usage is not None:
        about["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        about["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if (id := scope.get("rung.answer")) is not None:
        about["gen_ai.response.id"] = id
    if choices:
        about["gen_ai.response.finish_reasons"] = [choice.finish for choice in choices]
    if (first := scope.get("rung.first")) is not None:
        about["gen_ai.response.time_to_first_chunk"] = first
    if content and asked is not None:
        about["gen_ai.input.messages"] = _messages((turn.role, turn.content or "") for turn in asked.messages)
        about["gen_ai.output.messages"] = _messages(("assistant", choice.text) for choice in choices)
    return about


def _messages(turns: Iterable[tuple[str, str]]) -> str:
    parts = [{"role": role, "parts": [{"type": "text", "content": text}]} for role, text in turns]
    return json.dumps(parts, ensure_ascii=False)


def _made(
    ids: tuple[str, str, str], name: str, when: tuple[float, float], about: dict[str, Any], kind: int
) -> dict[str, Any]:
    """``ids``: trace, parent, own. Kinds: 2 a server's, 3 a client's."""
    return {**span(ids[0], ids[2], ids[1], name, when, about), "kind": kind}


def _failed(made: dict[str, Any], code: str, status: int) -> dict[str, Any]:
    if code or status >= 500:
        made["attributes"] += attributes({"error.type": code or str(status)})
        if status >= 500:
            made["status"] = {"code": _ERROR, "message": code}
    return made


def _parent(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str]:
    """The trace and span that a caller names, else a new trace."""
    for name, value in headers:
        if name == b"traceparent" and (found := _PARENT.fullmatch(value.strip())):
            return found[1].decode(), found[2].decode()
    return secrets.token_hex(16), ""
