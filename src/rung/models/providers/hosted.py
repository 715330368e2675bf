"""What the hosted providers share: one request at a time through the vendor's SDK, errors in one shape, no retry.

Retry, limits, prices and metering go around them in ``wrap``, once for all.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from rung.core.codec import digest
from rung.core.errors import (
    AuthError,
    ContextOverflow,
    InputError,
    ModelError,
    ModelTimeout,
    RateLimited,
    RungError,
    ServerError,
    Unsupported,
)
from rung.core.types import Capabilities, Chunk, Message, Reply, Request, ResponseFormat, ScoreRequest, Scores, ToolCall

CHARACTERS_A_TOKEN = 4
"""Hosted models count tokens with tokenizers that we do not have: ``count`` is this estimate for English text."""

_OVERFLOW = re.compile(
    r"context.{0,20}(length|window|size|limit)|maximum context|too many (input )?tokens|prompt is too long"
    r"|input is too long|exceeds? the (maximum|available).{0,40}(tokens?|context)|input token count.{0,80}exceeds",
    re.IGNORECASE,
)


class Hosted(ABC):
    """A model behind somebody's API. A provider says how one request is sent (``reply``) and how one is streamed."""

    provider: str
    capabilities: Capabilities
    key_variables: tuple[str, ...]

    def __init__(self, model: str, *, url: str = "", timeout: float = 120.0) -> None:
        self.model = model
        self.url = url
        self.timeout = timeout
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}@{self.url}" if self.url else f"{self.provider}:{self.model}"

    @property
    def fingerprint(self) -> str:
        # A vendor may change the weights behind a name and tells nobody: the name is all there is to go by.
        return digest([self.provider, self.model, self.url])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    async def reply(self, request: Request) -> Reply:
        """Send one request. Raises a ModelError in the one shape."""

    @abstractmethod
    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Send one request and yield its pieces; the last chunk carries the whole Reply."""

    @abstractmethod
    def connect(self) -> Any:
        """A new client of the vendor's SDK, with its own retries off."""

    @abstractmethod
    async def disconnect(self, client: Any) -> None: ...

    def client(self) -> Any:
        """The client of the running event loop (connections cannot move from one loop to another)."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self.connect(), loop
        return self._client

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in order; see the Model protocol. ``wrap`` calls it with one request at a time."""
        results = await asyncio.gather(*(self.reply(request) for request in requests), return_exceptions=True)
        return settle(results, self.name)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        raise Unsupported(
            f"{self.name} cannot score given candidates: its API has no log-probabilities of a text that it did not write",
            remedy="use a local model (openvino:... or transformers:...) for scoring, or generate with the form 'labels'",
        )

    def count(self, messages: Sequence[Message]) -> int:
        """An estimate: one token for four characters of UTF-8, and four a message."""
        return sum(math.ceil(len(message.content.encode()) / CHARACTERS_A_TOKEN) + 4 for message in messages)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await self.disconnect(client)

    def key(self) -> str:
        """The key from the environment. Raises AuthError that names the variable."""
        for variable in self.key_variables:
            if value := os.environ.get(variable, "").strip():
                return value
        raise AuthError(
            f"{self.name} needs a key and {' or '.join(self.key_variables)} is not set",
            remedy=f"type: export {self.key_variables[0]}=...",
        )

    def refuse(self, request: Request) -> None:
        """Raise Unsupported for what this API would silently ignore although it was asked for."""
        if request.sampling.beams > 1 and not self.capabilities.beams:
            raise Unsupported(
                f"{self.name} has no beam search", remedy="drop --beams, or use openvino:... or transformers:..."
            )
        if request.sampling.logprobs and not self.capabilities.logprobs:
            raise Unsupported(
                f"{self.name} gives no log-probabilities", remedy="ask without logprobs, or use another model"
            )
        if request.tools and not self.capabilities.tools:
            raise Unsupported(f"{self.name} takes no tools", remedy="ask without tools, or use another model")

    def problem(
        self,
        status: int | None,
        said: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> ModelError:
        """The one shape of an HTTP error: its class from the status, the vendor's own words, and what to type."""
        said = redact(said)
        text = f"{self.name} answered {status}: {said}" if status else f"{self.name}: {said}"
        if headers is not None and retry_after is None:
            retry_after = retry_after_seconds(headers)
        if status in (401, 403):
            return AuthError(text, remedy=f"check the key in {' or '.join(self.key_variables)}", status=status)
        if status == 429:
            return RateLimited(
                text, remedy="wait, or lower it: RUNG_CONCURRENCY=4 RUNG_RATE=1", retry_after=retry_after
            )
        if status in (408, 504):
            return ModelTimeout(text, remedy="try again, or allow more time: RUNG_TIMEOUT=300", status=status)
        if status == 413 or (status in (400, 422, 500) and _OVERFLOW.search(said)):
            return ContextOverflow(
                text, remedy="shorten the prompt, or set overflow: truncate in the task file", status=status
            )
        if status == 409 or (status is not None and status >= 500):
            return ServerError(
                text, remedy="try again later, or use another model: -m", status=status, retry_after=retry_after
            )
        if status == 404:
            return ModelError(text, remedy=f"check the model's name {self.model!r} and the address", status=status)
        return ModelError(text, remedy="correct what the provider names", status=status)

    def shaped(self, error: Exception, sdk: Any) -> Exception:
        """Any exception of a vendor's SDK or of its HTTP client in the one shape; what is neither comes back unchanged.

        ``sdk`` is OpenAI's or Anthropic's module (both name their errors alike), None for Google's.
        """
        if isinstance(error, RungError):
            return error
        if sdk is not None:
            if isinstance(error, sdk.APITimeoutError):
                return self.late()
            if isinstance(error, sdk.APIConnectionError):
                return self.unreachable(str(error.__cause__ or error))
            if isinstance(error, sdk.APIStatusError) and error.status_code >= 400:
                return self.problem(error.status_code, str(error.message), headers=error.response.headers)
            if isinstance(error, sdk.APIError):  # an error event inside a stream that had begun with 200
                kind = str(getattr(error, "type", "") or getattr(error, "code", "") or "")
                return RateLimited(str(error), status=None) if "rate_limit" in kind else self.broken(str(error))
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return self.late()
        family = type(error).__module__.partition(".")[0]
        if family in ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anyio", "ssl") or isinstance(
            error, OSError
        ):
            said = f"{type(error).__name__} {error}"
            return self.unreachable(said) if "Connect" in said else self.broken(said)
        if isinstance(error, ValueError):  # the SDK could not read what came
            return self.broken(f"the answer cannot be read: {error}")
        return error

    def unreachable(self, said: str) -> ServerError:
        where = self.url or f"the {self.provider} API"
        return ServerError(
            f"{self.name}: no connection to {where}: {redact(said)}",
            remedy="check the network, the address and that the server runs",
        )

    def late(self) -> ModelTimeout:
        return ModelTimeout(
            f"{self.name} gave no answer within {self.timeout:g} s",
            remedy="try again, or allow more time: RUNG_TIMEOUT=300",
        )

    def broken(self, said: str) -> ServerError:
        """A stream that ended before its end."""
        return ServerError(f"{self.name}: the stream broke off: {redact(said)}", remedy="try again")


def settle(results: Sequence[Reply | BaseException], name: str) -> list[Reply]:
    """Replies in order, where a failed request is a reply with finish "error"; raises when all failed for one reason."""
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ModelError):
            raise result
    failed = [result for result in results if isinstance(result, ModelError)]
    if failed and len(failed) == len(results) and len({type(error) for error in failed}) == 1:
        raise failed[0]
    return [result if isinstance(result, Reply) else Reply.of(result, name) for result in results]


def redact(said: str) -> str:
    """One line without keys: values of the environment that look secret, and anything shaped as a bearer token."""
    for variable, value in os.environ.items():
        if len(value) >= 8 and re.search(r"KEY|TOKEN|SECRET|PASSWORD", variable):
            said = said.replace(value, "[key]")
    said = re.sub(r"(?i)\b(sk-|bearer\s+|AIza|key=)[\w.*-]{6,}", r"\1[key]", said)
    return re.sub(r"\s+", " ", said).strip()[:500]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``retry-after-ms`` or ``Retry-After`` (RFC 9110: seconds or a date); None where neither is there."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        raw = headers.get("retry-after")
        if raw is None:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", raw):
            return float(raw)
        return max(0.0, parsedate_to_datetime(raw).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def tool_call(id: str, name: str, arguments: str | Mapping[str, Any] | None) -> ToolCall:
    """A tool call whose arguments came as JSON text or as an object. Text that is not a JSON object is kept under ``_raw``,
    so that the caller's schema check refuses it and the model can be told."""
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except ValueError:
            parsed = None
        return ToolCall(id, name, parsed if isinstance(parsed, dict) else {"_raw": arguments})
    return ToolCall(id, name, dict(arguments or {}))


def schema_of(form: ResponseFormat) -> dict[str, Any] | None:
    """The JSON schema of the *object* by which a form is asked of an API that takes schemas only; None: cannot be.

    Labels and numbers are wrapped as ``{"answer": ...}``; ``unwrap`` takes them out again.
    """
    if form.kind == "json":
        return dict(form.schema) or {"type": "object"}
    if form.kind == "labels":
        answer: dict[str, Any] = {"type": "string", "enum": list(form.labels)}
    elif form.kind == "number":
        answer = {"type": "number"}
    else:
        return None
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}


def unwrap(form: ResponseFormat, text: str) -> str:
    """The answer inside ``{"answer": ...}``; text that is not so comes back unchanged."""
    if form.kind not in ("labels", "number"):
        return text
    try:
        document = json.loads(text)
    except ValueError:
        return text
    if not isinstance(document, dict) or set(document) != {"answer"}:
        return text
    answer = document["answer"]
    return answer if isinstance(answer, str) else json.dumps(answer)


def check_url(url: str, variable: str) -> str:
    """The address without a trailing slash. Raises InputError where it carries a user or password."""
    if re.match(r"https?://[^/]*@", url):
        raise InputError("an address must not carry a user or password", remedy=f"put the key in {variable}")
    if not re.match(r"https?://[\w.\[\]:-]+(/|$)", url):
        raise InputError(f"got address {url!r}, expected http(s)://host[:port]/path", remedy="correct the address")
    return url.rstrip("/")
