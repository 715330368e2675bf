"""How an answer is written: OpenAI's chat completions. Other protocols are other dialects of the same events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from rung.core.types import Usage
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import Chunks, calls_wire, finish_wire, to_bytes, to_json, usage_wire
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint


class Dialect(Protocol):
    """Writes one answer. ``id`` is the response's; pieces of a stream are bytes that are sent as they are."""

    @property
    def id(self) -> str: ...
    def begin(self, index: int) -> bytes:
        """A choice begins."""
        ...

    def piece(self, index: int, text: str) -> bytes: ...
    def end(self, choice: ChatChoice) -> bytes:
        """A choice is complete, its tool calls with it."""
        ...

    def last(self, usage: Usage, extension: dict[str, Any] | None) -> bytes: ...
    def broken(self, refused: Refused) -> bytes:
        """What ends a stream that cannot go on."""
        ...

    def whole(self, choices: Sequence[ChatChoice], usage: Usage, extension: dict[str, Any] | None) -> bytes: ...
    def refusal(self, refused: Refused) -> dict[str, Any]: ...


class OpenaiDialect:
    """OpenAI's: a completion, or chunks that end in ``[DONE]``."""

    def __init__(self, id: str, created: int, endpoint: Endpoint, asked: ChatRequest) -> None:
        self.id, self.created, self.model = id, created, endpoint.id
        self.fingerprint = "rung-" + endpoint.fingerprint[:16]
        options = asked.stream_options
        self.counted = options is not None and bool(options.include_usage)

    @cached_property
    def chunks(self) -> Chunks:
        return Chunks(self.id, self.created, self.model, self.fingerprint, self.counted)

    def begin(self, index: int) -> bytes:
        return self.chunks.delta(index, '{"role":"assistant","content":""}')

    def piece(self, index: int, text: str) -> bytes:
        return self.chunks.text(index, text)

    def end(self, choice: ChatChoice) -> bytes:
        out = b""
        if choice.tool_calls:
            calls = to_json(calls_wire(choice.tool_calls, streamed=True))
            out = self.chunks.delta(choice.index, f'{{"tool_calls":{calls}}}')
        return out + self.chunks.delta(choice.index, "{}", finish_wire(choice.finish), _logprobs(choice))

    def last(self, usage: Usage, extension: dict[str, Any] | None) -> bytes:
        out = b""
        if self.counted or extension is not None:
            out = self.chunks.last(usage_wire(usage) if self.counted else None, extension)
        return out + b"data: [DONE]\n\n"

    def broken(self, refused: Refused) -> bytes:
        return f"data: {to_json(refused.body())}\n\n".encode("utf-8", "backslashreplace")

    def whole(self, choices: Sequence[ChatChoice], usage: Usage, extension: dict[str, Any] | None) -> bytes:
        completion = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [_choice(choice) for choice in choices],
            "usage": usage_wire(usage),
            "system_fingerprint": self.fingerprint,
        }
        return to_bytes(completion if extension is None else {**completion, "rung": extension})

    def refusal(self, refused: Refused) -> dict[str, Any]:
        return refused.body()


def _choice(choice: ChatChoice) -> dict[str, Any]:
    text = choice.text if choice.text or not choice.tool_calls else None
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if choice.tool_calls:
        message["tool_calls"] = calls_wire(choice.tool_calls)
    finish = finish_wire(choice.finish)
    return {"index": choice.index, "message": message, "logprobs": _logprobs(choice), "finish_reason": finish}


def _logprobs(choice: ChatChoice) -> dict[str, Any] | None:
    if choice.logprobs is None:
        return None
    # Part of a character is no text: such a token's bytes are not told.
    texts = choice.tokens if len(choice.tokens) == len(choice.logprobs) else ("",) * len(choice.logprobs)
    content: list[dict[str, Any]] = [
        {
            "token": text,
            "logprob": value,
            "bytes": None if not text or "\ufffd" in text else list(text.encode("utf-8", "replace")),
            "top_logprobs": [],
        }
        for text, value in zip(texts, choice.logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}
