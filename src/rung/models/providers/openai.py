"""Any server that speaks the OpenAI chat completions API, through OpenAI's own SDK.

``openai:MODEL`` asks OpenAI (or ``OPENAI_BASE_URL``); ``openai:MODEL@http://127.0.0.1:8000/v1`` asks that address: vLLM,
llama.cpp, Ollama and others. Written against the SDK's ``chat.completions`` (openai 3.54) and OpenAI's API reference.

A parameter that the model refuses by name although it is only a preference (temperature, top_p, seed: the reasoning models
take none) is left out from then on, with a warning.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from rung.core.errors import ModelError, Unsupported
from rung.core.extras import require
from rung.core.settings import Settings
from rung.core.types import Capabilities, Chunk, Finish, Message, Reply, Request, ResponseFormat, ToolCall, Usage
from rung.models.providers.hosted import Hosted, check_url, schema_of, tool_call, unwrap

logger = logging.getLogger("rung.models")

FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
}
_PREFERENCES = ("temperature", "top_p", "seed")


class OpenaiModel(Hosted):
    provider = "openai"
    key_variables = ("OPENAI_API_KEY",)
    capabilities = Capabilities(
        forms=frozenset({"labels", "json", "number"}), tools=True, logprobs=True, seed=True, context=128_000
    )

    def __init__(self, model: str, *, url: str = "", timeout: float = 120.0) -> None:
        super().__init__(model, url=url, timeout=timeout)
        self._refused: set[str] = set()

    def connect(self) -> Any:
        sdk = require("openai", "openai", f"the model {self.name}")
        # Servers of one's own often want no key; the SDK insists on one.
        key = os.environ.get("OPENAI_API_KEY", "").strip() or "none" if self.url else self.key()
        return sdk.AsyncOpenAI(api_key=key, base_url=self.url or None, max_retries=0, timeout=self.timeout)

    async def disconnect(self, client: Any) -> None:
        await client.close()

    async def reply(self, request: Request) -> Reply:
        completion = await self._create(request, stream=False)
        if not completion.choices:
            raise self.broken("the answer has no choices")
        choice = completion.choices[0]
        message = choice.message
        calls = tuple(tool_call(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ())
        content = choice.logprobs.content if choice.logprobs is not None else None
        return Reply(
            text=unwrap(request.form, message.content or message.refusal or ""),
            finish="filtered" if message.refusal else FINISH.get(choice.finish_reason, "stop"),
            usage=_usage(completion.usage),
            model=self.name,
            tool_calls=calls,
            logprobs=None if content is None else tuple(token.logprob for token in content),
        )

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        held = request.form.kind in ("labels", "number")  # comes as JSON around the answer: given out at the end
        text: list[str] = []
        calls: dict[int, list[str]] = {}
        logprobs: list[float] = []
        finish: Finish | None = None
        usage = Usage()
        pieces = await self._create(request, stream=True)
        try:
            async for event in pieces:
                if event.usage is not None:
                    usage = _usage(event.usage)
                if not event.choices:
                    continue
                choice = event.choices[0]
                for call in choice.delta.tool_calls or ():
                    parts = calls.setdefault(call.index, ["", "", ""])
                    parts[0] += call.id or ""
                    if call.function is not None:
                        parts[1] += call.function.name or ""
                        parts[2] += call.function.arguments or ""
                if choice.logprobs is not None:
                    logprobs += [token.logprob for token in choice.logprobs.content or ()]
                if piece := choice.delta.content or choice.delta.refusal or "":
                    text.append(piece)
                    if not held:
                        yield Chunk(piece)
                if choice.delta.refusal:
                    finish = "filtered"
                if choice.finish_reason:
                    finish = finish or FINISH.get(choice.finish_reason, "stop")
        except Exception as error:
            raise self._shaped(error) from None
        finally:
            await pieces.close()
        if finish is None:
            raise self.broken("it ended without a finish reason")
        if not usage.tokens:  # a server that ignores stream_options: the estimate of ``count``
            usage = Usage(1, self.count(request.messages), self.count((Message("assistant", "".join(text)),)))
        answer = unwrap(request.form, "".join(text))
        yield Chunk(
            answer if held else "",
            Reply(
                text=answer,
                finish=finish,
                usage=usage,
                model=self.name,
                tool_calls=tuple(tool_call(*parts) for _, parts in sorted(calls.items())),
                logprobs=tuple(logprobs) if request.sampling.logprobs else None,
            ),
        )

    async def _create(self, request: Request, *, stream: bool) -> Any:
        self.refuse(request)
        body = self._body(request)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        while True:
            sent = {name: value for name, value in body.items() if name not in self._refused}
            try:
                return await self.client().chat.completions.create(**sent)
            except Exception as error:
                name = self._refusal(error, sent)
                if name is None:
                    raise self._shaped(error) from None
                logger.warning("%s does not take %s; asking without it from now on", self.name, name)
                self._refused.add(name)

    def _refusal(self, error: Exception, sent: Mapping[str, Any]) -> str | None:
        """The preference that a 400 names as unsupported, if it was sent."""
        if getattr(error, "status_code", None) != 400:
            return None
        said = str(getattr(error, "param", None) or "") + " " + str(getattr(error, "message", ""))
        if not re.search(
            r"unsupported|not support|deprecat|only the default", said + str(getattr(error, "code", "")), re.I
        ):
            return None
        return next((name for name in _PREFERENCES if name in sent and re.search(rf"\b{name}\b", said)), None)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": wire_messages(request.messages),
            # OpenAI's newer models take only the new name, older compatible servers only the old one.
            "max_tokens" if self.url else "max_completion_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.top_k:
            if not self.url:
                raise Unsupported(f"{self.name} has no top-k", remedy="drop --top-k, or use --top-p")
            body["extra_body"] = {"top_k": sampling.top_k}
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.logprobs:
            body["logprobs"] = True
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": dict(t.schema)},
                }
                for t in request.tools
            ]
        if request.form.closed:
            body["response_format"] = self._format(request.form)
        return body

    def _format(self, form: ResponseFormat) -> dict[str, Any]:
        schema = schema_of(form)
        if schema is None:
            raise Unsupported(
                f"{self.name} cannot decode under the form {form.kind!r}",
                remedy=f"it has: {', '.join(sorted(self.capabilities.forms))}; local models (openvino:...) have more",
            )
        return {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": strict(schema)},
        }

    def _shaped(self, error: Exception) -> Exception:
        if getattr(error, "code", None) == "insufficient_quota":
            return ModelError(
                f"{self.name}: the account has no quota left",
                remedy="add credit at the provider, or use another key",
                status=429,
            )
        return self.shaped(error, require("openai", "openai", f"the model {self.name}"))


def open_model(name: str, settings: Settings) -> OpenaiModel:
    """``MODEL`` or ``MODEL@URL``; the address may also come from OPENAI_BASE_URL.

    Raises AuthError when the key is not set (an address of one's own may do without), MissingExtra, InputError.
    """
    model, _, url = name.partition("@http")
    url = f"http{url}" if url else os.environ.get("OPENAI_BASE_URL", "").strip()
    require("openai", "openai", f"the model openai:{model}")
    opened = OpenaiModel(model, url=check_url(url, "OPENAI_API_KEY") if url else "", timeout=float(settings["timeout"]))
    if not url:
        opened.key()
    return opened


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the chat completions API writes them."""
    out: list[dict[str, Any]] = []
    for message in messages:
        wire: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            wire["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
            wire["content"] = message.content or None
        if message.role == "tool":
            wire["tool_call_id"] = message.tool_call_id or ""
        out.append(wire)
    return out


def _wire_call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def strict(schema: Any) -> bool:
    """Whether a schema keeps the rules of OpenAI's strict mode: every object closed, every property required."""
    if isinstance(schema, list):
        return all(strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(schema.get("properties", {}))
    ):
        return False
    return all(strict(item) for item in schema.values())


def _usage(usage: Any) -> Usage:
    if usage is None:
        return Usage(calls=1)
    details = usage.prompt_tokens_details
    return Usage(
        calls=1,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
    )
