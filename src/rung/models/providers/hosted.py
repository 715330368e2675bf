"""What the hosted providers share: one request at a time through the vendor's SDK, errors in one shape, no retry.

Retry, limits, prices and metering go around them in ``wrap``, once for all.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence, Set
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, Self

from rung.core.codec import digest
from rung.core.errors import (
    ModelError,
    Unsupported,
)
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.types import Capabilities, Chunk, Message, Reply, Request, ResponseFormat, ScoreRequest, Scores, ToolCall
from rung.models.providers.access import Access, Vendor, find_access
from rung.models.providers.refusal import STATUSES, ProviderErrors, Refusals

CHARACTERS_A_TOKEN = 4
"""Hosted models count tokens with tokenizers that we do not have: ``count`` is this estimate for English text."""


class Hosted(ABC):
    """A model behind somebody's API.

    A provider says what is sent for a request (``body``), how (``send``), and how what comes back is read (``reply``,
    ``stream``); ``open`` is its factory. ``module`` is the vendor's SDK.
    """

    vendor: ClassVar[Vendor]
    module: ClassVar[str]
    can: ClassVar[Capabilities]
    spellings: ClassVar[Mapping[str, str]] = {}
    """How errors spell what is sent, where it is not the parameter's name (see Refusals)."""

    def __init__(self, model: str, access: Access, timeout: float = 120.0) -> None:
        self.model = model
        self.access = access
        self.timeout = timeout
        self.refusals = Refusals(self.name, self.spellings)
        self.errors = ProviderErrors(self.name, access, timeout)
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, name: str, settings: Settings) -> Self:
        """``MODEL`` or ``MODEL@URL``; the address may also come from the vendor's own variable for it.

        Raises AuthError when a key is needed and not set, InputError for an address that is none or is plain HTTP to
        another machine, MissingExtra.
        """
        model, url = (*re.split(r"@(?=https?:)", name, maxsplit=1, flags=re.IGNORECASE), "")[:2]
        require(cls.module, cls.vendor.name, f"the model {cls.vendor.name}:{model}")
        access = find_access(cls.vendor, url, settings)
        opened = cls(model, access, float(settings["timeout"]))
        opened.check_key()
        return opened

    @property
    def name(self) -> str:
        plain = f"{self.vendor.name}:{self.model}"
        return f"{plain}@{self.access.url}" if self.access.url else plain

    @property
    def fingerprint(self) -> str:
        # A vendor may change the weights behind a name and tells nobody: the name is all there is to go by.
        return digest([self.vendor.name, self.model, self.access.url])

    @property
    def capabilities(self) -> Capabilities:
        """What the API can do, without the forms that this model has refused: those are then parsed from free text."""
        refused = self.refusals.known
        if "json_schema" not in refused:
            return self.can
        return replace(self.can, forms=frozenset({"json"} if "json_object" in self.spellings.keys() - refused else ()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @abstractmethod
    def body(self, request: Request, without: Set[str], *, stream: bool) -> dict[str, Any]:
        """The arguments of the SDK's call, without the parameters that are refused."""

    @abstractmethod
    def optional(self, body: Mapping[str, Any]) -> Set[str]:
        """Which parameters of a body can be left out."""

    @abstractmethod
    async def send(self, body: Mapping[str, Any], *, stream: bool) -> Any:
        """Call the SDK; whatever it raises."""

    @abstractmethod
    def complaint(self, error: Exception) -> tuple[int | None, str, str]:
        """The HTTP status of an SDK's exception, its words, and the parameter that it names."""

    @abstractmethod
    async def reply(self, request: Request) -> Reply:
        """Send one request. Raises a ModelError in the one shape."""

    @abstractmethod
    def chunks(self, request: Request) -> AsyncGenerator[Chunk]:
        """Send one request and yield its pieces; the last chunk carries the whole Reply."""

    @abstractmethod
    def translate(self, error: Exception) -> Exception:
        """An exception of the SDK in the one shape; see ``shaped``."""

    @abstractmethod
    def connect(self) -> Any:
        """A new client of the vendor's SDK, with its own retries off."""

    @abstractmethod
    async def disconnect(self, client: Any) -> None: ...

    def sdk(self) -> Any:
        return require(self.module, self.vendor.name, f"the model {self.name}")

    def check_key(self) -> None:
        """Raise AuthError when a key is needed and not set."""
        self.access.key(self.name)

    def client(self) -> Any:
        """The client of the running event loop (connections cannot move from one loop to another)."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self.connect(), loop
        return self._client

    async def ask(self, request: Request, *, stream: bool) -> tuple[Any, Set[str]]:
        """Send a request, and what came back. What the server refuses by name is left out and it is asked again; the
        second value is what was left out. Raises a ModelError in the one shape."""
        self.refuse(request)
        without = self.refusals.known
        while True:
            body = self.body(request, without, stream=stream)
            try:
                answer = await self.send(body, stream=stream)
            except Exception as error:
                status, said, param = self.complaint(error)
                refused = self.refusals.find(status, said, param, self.optional(body) - without)
                if refused is None:
                    if status is not None and status not in STATUSES:
                        self.refusals.learn(without)
                    raise self.translate(error) from None
                without |= {refused}
            else:
                self.refusals.learn(without)
                return answer, without

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in order; see the Model protocol. ``wrap`` calls it with one request at a time."""
        results = await asyncio.gather(*(self._one(request) for request in requests), return_exceptions=True)
        return settle(results, self.name)

    async def _one(self, request: Request) -> Reply:
        try:
            return self.checked(request, await self.reply(request))
        except Exception as error:  # what came can break any step of reading it
            raise self.translate(error) from None

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """``chunks``, the reply in the last of them checked as one in one piece is."""
        async with aclosing(self.chunks(request)) as chunks:
            async for chunk in chunks:
                yield replace(chunk, reply=self.checked(request, chunk.reply)) if chunk.reply is not None else chunk

    def checked(self, request: Request, reply: Reply) -> Reply:
        """A reply of the right types, as the SDKs let through what a server sends: counts of tokens that it leaves out,
        or that cannot be (negative, no numbers, more of them cached than there are), are estimates (``count``). Raises
        ServerError for a text that is none."""
        if not isinstance(reply.text, str):
            raise self.errors.unreadable(f"its text is a {type(reply.text).__name__}")
        told = (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens)
        try:
            prompt, completion, cached = map(int, told)
        except (TypeError, ValueError, OverflowError):
            prompt = completion = cached = 0
        if min(prompt, completion, cached) < 0 or cached > prompt or not prompt + completion:
            prompt, cached = self.count(request.messages), 0
            completion = self.count((Message("assistant", reply.text),)) if reply.text else 0
        return replace(
            reply, usage=replace(reply.usage, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
        )

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

    def refuse(self, request: Request) -> None:
        """Raise Unsupported for what this API would silently ignore although it was asked for."""
        if request.sampling.beams > 1 and not self.can.beams:
            raise Unsupported(
                f"{self.name} has no beam search", remedy="drop --beams, or use openvino:... or transformers:..."
            )
        if request.sampling.logprobs and not self.can.logprobs:
            raise Unsupported(
                f"{self.name} gives no log-probabilities", remedy="ask without logprobs, or use another model"
            )
        if request.tools and not self.can.tools:
            raise Unsupported(f"{self.name} takes no tools", remedy="ask without tools, or use another model")
        if request.form.closed and schema_of(request.form) is None:
            raise Unsupported(
                f"{self.name} cannot decode under the form {request.form.kind!r}",
                remedy=f"it has: {', '.join(sorted(self.can.forms))}; local models (openvino:...) have more",
            )


def settle(results: Sequence[Reply | BaseException], name: str) -> list[Reply]:
    """Replies in order, where a failed request is a reply with finish "error"; raises when all failed for one
    reason."""
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ModelError):
            raise result
    failed = [result for result in results if isinstance(result, ModelError)]
    if failed and len(failed) == len(results) and len({type(error) for error in failed}) == 1:
        raise failed[0]
    return [result if isinstance(result, Reply) else Reply.of(result, name) for result in results]


def text_of(content: Any) -> str:
    """The text of a message or of a piece of one: a text, or a list of parts, of which those of text count. Raises
    TypeError for what is neither."""
    if isinstance(content, list):
        return "".join(text_of(part["text"]) for part in content if part.get("type") == "text")
    if not isinstance(content, str | None):
        raise TypeError(f"content is {content!r:.60}")
    return content or ""


def add_call(calls: dict[int, list[str]], index: Any, id: Any, name: Any, arguments: Any) -> None:
    """Put a piece of a tool call to what came of it before: its id, its name, its arguments as text. Servers that count
    badly are understood: another id under the same index begins another call, and so does a piece without an index."""
    at = index if isinstance(index, int) else len(calls)
    if id and at in calls and calls[at][0] not in ("", id):
        at = max(calls) + 1
    parts = calls.setdefault(at, ["", "", ""])
    parts[0] = parts[0] or str(id or "")
    parts[1] += str(name or "")
    parts[2] += arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""


def tool_call(id: str, name: str, arguments: str | Mapping[str, Any] | None) -> ToolCall:
    """A tool call whose arguments came as JSON text or as an object. Text that is not a JSON object is kept under
    ``_raw``, so that the caller's schema check refuses it and the model can be told."""
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


def cut(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops``: for a server that takes none."""
    return text[: min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=len(text))]
