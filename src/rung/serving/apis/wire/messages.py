"""Anthropic's messages (docs.anthropic.com/en/api/messages): read as a chat request, written as a dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from rung.core.types import Finish, Usage
from rung.serving.apis.wire.chat import MESSAGES, TOOLS, ChatRequest, Readable, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import to_json
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint


class MessageTool(Readable):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] = Field(default_factory=lambda: {"type": "object"})


class MessageTurn(Readable):
    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]


class MessagesRequest(Readable):
    """The body of POST /v1/messages."""

    model: str = Field(min_length=1, max_length=512)
    max_tokens: int = Field(ge=1)
    messages: list[MessageTurn] = Field(min_length=1, max_length=MESSAGES, fail_fast=True)
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    stop_sequences: list[str] | None = Field(default=None, max_length=16)
    tools: list[MessageTool] | None = Field(default=None, max_length=TOOLS, fail_fast=True)
    tool_choice: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


def read_messages(body: bytes) -> ChatRequest:
    """A body as a chat request. Raises Refused that names the field."""
    asked = parse_body(MessagesRequest, body)
    turns: list[dict[str, Any]] = []
    if asked.system:
        turns.append({"role": "system", "content": _text(asked.system, "system")})
    for at, turn in enumerate(asked.messages):
        turns += _turns(turn, f"messages.{at}.content")
    user = (asked.metadata or {}).get("user_id")
    choice = (asked.tool_choice or {}).get("type")
    fields: dict[str, Any] = {
        "model": asked.model,
        "messages": turns,
        "max_tokens": asked.max_tokens,
        "stream": asked.stream,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "stop": asked.stop_sequences or None,
        "tool_choice": {"any": "required", "tool": "required"}.get(choice, choice) if isinstance(choice, str) else None,
        "user": user if isinstance(user, str) else None,
    }
    if asked.tools:
        fields["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in asked.tools
        ]
    return ChatRequest.model_validate({name: value for name, value in fields.items() if value is not None})


def _turns(turn: MessageTurn, place: str) -> list[dict[str, Any]]:
    """A turn as one message, or several: each result of a tool is a message of its own."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    results, calls, texts = [], [], []
    for block in turn.content:
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
        elif kind == "tool_use" and turn.role == "assistant":
            function = {"name": str(block.get("name", "")), "arguments": json.dumps(block.get("input") or {})}
            calls.append({"id": str(block.get("id", "")), "function": function})
        elif kind == "tool_result" and turn.role == "user":
            said = _text(block.get("content") or "", place)
            results.append({"role": "tool", "tool_call_id": str(block.get("tool_use_id", "")), "content": said})
        else:
            said = f"{place}: only text, tool_use and tool_result can be read, got {str(kind)[:40]}"
            raise Refused(400, said, param=place, code="invalid_value")
    own: list[dict[str, Any]] = []
    if texts or calls or not results:
        own = [{"role": turn.role, "content": "".join(texts), **({"tool_calls": calls} if calls else {})}]
    return [*results, *own]


def _text(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(b, Mapping) and isinstance(b.get("text"), str) for b in content):
        return "".join(block["text"] for block in content)
    raise Refused(400, f"{place}: only text can be read", param=place, code="invalid_value")


_STOP: Mapping[Finish, str] = {"length": "max_tokens", "tool_calls": "tool_use", "filtered": "refusal"}
_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip


class MessagesDialect:
    """A message, or its events."""

    def __init__(self, id: str, created: int, endpoint: Endpoint, asked: ChatRequest) -> None:
        self.id, self.model = id, endpoint.id
        self._blocks = 0
        self._open = False
        self._stop = "end_turn"

    def begin(self, index: int) -> bytes:
        message = {**self._message([], _usage(Usage())), "stop_reason": None}
        return _event("message_start", {"message": message})

    def piece(self, index: int, text: str) -> bytes:
        out = b""
        if not self._open:
            self._open = True
            out = _event("content_block_start", {"index": self._blocks, "content_block": {"type": "text", "text": ""}})
        return out + _event(
            "content_block_delta", {"index": self._blocks, "delta": {"type": "text_delta", "text": text}}
        )

    def end(self, choice: ChatChoice) -> bytes:
        out = self._close()
        for call in choice.tool_calls:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            out += _event("content_block_start", {"index": self._blocks, "content_block": block})
            delta = {"type": "input_json_delta", "partial_json": to_json(dict(call.arguments))}
            out += _event("content_block_delta", {"index": self._blocks, "delta": delta})
            self._open = True
            out += self._close()
        self._stop = _STOP.get(choice.finish, "end_turn")
        return out

    def last(self, usage: Usage, extension: dict[str, Any] | None) -> bytes:
        delta = {"stop_reason": self._stop, "stop_sequence": None}
        return _event("message_delta", {"delta": delta, "usage": _usage(usage)}) + _event("message_stop", {})

    def broken(self, refused: Refused) -> bytes:
        return _event("error", self.refusal(refused))

    def whole(self, choices: Sequence[ChatChoice], usage: Usage, extension: dict[str, Any] | None) -> bytes:
        choice = choices[0]
        blocks: list[dict[str, Any]] = [{"type": "text", "text": choice.text}] if choice.text else []
        blocks += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
            for call in choice.tool_calls
        ]
        self._stop = _STOP.get(choice.finish, "end_turn")
        return to_json(self._message(blocks, _usage(usage))).encode("utf-8", "backslashreplace")

    def refusal(self, refused: Refused) -> dict[str, Any]:
        return messages_error(refused)

    def _message(self, blocks: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self.id.replace("chatcmpl-", "msg_"),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": self._stop,
            "stop_sequence": None,
            "usage": usage,
        }

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        self._blocks += 1
        return _event("content_block_stop", {"index": self._blocks - 1})


def messages_error(refused: Refused) -> dict[str, Any]:
    """An error as Anthropic's clients read it."""
    kind = _ERRORS.get(refused.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": refused.body()["error"]["message"]}}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {to_json({'type': name, **data})}\n\n".encode("utf-8", "backslashreplace")
