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


class DeltaWire(BaseModel):
    role: Literal["assistant"] | None = Field(default=None, exclude_if=lambda value: value is None)
    content: str | None = Field(default=None, exclude_if=lambda value: value is None)
    tool_calls: list[dict[str, Any]] | None = Field(default=None, exclude_if=lambda value: value is None)


class ChunkChoiceWire(BaseModel):
    index: int
    delta: DeltaWire
    logprobs: dict[str, Any] | None = None
    finish_reason: FinishWire | None = None


class ChatChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoiceWire]
    system_fingerprint: str
    usage: UsageWire | None = Field(default=None, exclude_if=lambda value: value is None)
    rung: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)


class ModelWire(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rung"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelWire]
