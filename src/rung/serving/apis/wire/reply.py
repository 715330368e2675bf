"""What is written: a completion, whole or in chunks, as OpenAI's clients read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel

from rung.core.types import Finish, ToolCall, Usage


def usage_wire(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


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


class Chunks:
    """The events of one stream. Each is put together of text that is the same in all of them: a model would be built
    and written out again for every piece. ``counted``: the stream ends with its usage, and the chunks before have a
    null there."""

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

    def last(self, usage: dict[str, Any] | None, extension: dict[str, Any] | None) -> bytes:
        """The chunk without choices."""
        said = self._head + self._tail
        if usage is not None:
            said += f',"usage":{to_json(usage)}'
        if extension is not None:
            said += f',"rung":{to_json(extension)}'
        return (said + "}\n\n").encode("utf-8", "backslashreplace")


_quote = json.encoder.encode_basestring
"""A JSON string; half a surrogate pair in it becomes its escape when it is encoded with "backslashreplace"."""


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_bytes(value: Any) -> bytes:
    """``value`` as JSON in UTF-8; half a surrogate pair in it becomes its escape."""
    try:
        return orjson.dumps(value)
    except TypeError:  # such a half, or an integer of more than 64 bits
        return to_json(value).encode("utf-8", "backslashreplace")


class ModelWire(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rung"
