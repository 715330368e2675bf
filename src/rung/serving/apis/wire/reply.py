"""What is written: a completion, whole or in chunks, as OpenAI's clients read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from rung.core.types import Finish, ToolCall, Usage


class PromptDetails(BaseModel):
    cached_tokens: int = 0


class UsageWire(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()

    @classmethod
    def of(cls, usage: Usage) -> UsageWire:
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.tokens,
            prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens),
        )


FinishWire = Literal["stop", "length", "tool_calls", "content_filter"]
_FINISH: Mapping[Finish, FinishWire] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filtered": "content_filter",
}


def finish_wire(finish: Finish) -> FinishWire:
    return _FINISH.get(finish, "stop")


def calls_wire(calls: Sequence[ToolCall], *, streamed: bool = False) -> list[dict[str, Any]]:
    """Tool calls as OpenAI writes them; in a stream each carries its index."""
    return [
        {
            **({"index": index} if streamed else {}),
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
        }
        for index, call in enumerate(calls)
    ]


class MessageWire(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[dict[str, Any]] | None = Field(default=None, exclude_if=lambda value: value is None)


class ChoiceWire(BaseModel):
    index: int
    message: MessageWire
    logprobs: dict[str, Any] | None = None
    finish_reason: FinishWire


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceWire]
    usage: UsageWire
    system_fingerprint: str
    rung: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)


class Chunks:
    """The events of one stream. Each is put together of text that is the same in all of them: a model would be built and written
    out again for every piece. ``counted``: the stream ends with its usage, and the chunks before have a null there."""

    def __init__(self, id: str, created: int, model: str, fingerprint: str, counted: bool) -> None:
        self._head = (
            f'data: {{"id":{_quote(id)},"object":"chat.completion.chunk","created":{created},"model":{_quote(model)},'
            '"choices":['
        )
        self._tail = f'],"system_fingerprint":{_quote(fingerprint)}'
        self._end = self._tail + (',"usage":null}\n\n' if counted else "}\n\n")

    def text(self, index: int, text: str) -> bytes:
        """A piece of a choice's text."""
        said = (
            f'{self._head}{{"index":{index},"delta":{{"content":{_quote(text)}}},"logprobs":null,"finish_reason":null}}'
        )
        return (said + self._end).encode("utf-8", "backslashreplace")

    def delta(self, index: int, delta: str, finish: str | None = None, logprobs: Any = None) -> bytes:
        """Any other change of a choice; ``delta`` is JSON."""
        reason = "null" if finish is None else _quote(finish)
        said = f'{{"index":{index},"delta":{delta},"logprobs":{to_json(logprobs)},"finish_reason":{reason}}}'
        return (self._head + said + self._end).encode("utf-8", "backslashreplace")

    def last(self, usage: UsageWire | None, extension: dict[str, Any] | None) -> bytes:
        """The chunk without choices."""
        said = self._head + self._tail
        if usage is not None:
            said += f',"usage":{usage.model_dump_json()}'
        if extension is not None:
            said += f',"rung":{to_json(extension)}'
        return (said + "}\n\n").encode("utf-8", "backslashreplace")


_quote = json.encoder.encode_basestring
"""A JSON string; half a surrogate pair in it becomes its escape when it is encoded with "backslashreplace"."""


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class ModelWire(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rung"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelWire]
