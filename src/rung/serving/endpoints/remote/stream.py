"""What another server streams (OpenAI's events), read part by part as it comes over the wire."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

from rung.core.types import ToolCall, Usage
from rung.models.providers.hosted import add_call, text_of
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.remote.upstream import arguments_of, broken, finish_of, refusal_of, usage_of

LINE = 1024 * 1024
"""Bytes of one event of a stream at most."""


class StreamReader:
    """``feed`` gives the pieces of a part, ``choices`` the answer once the stream is over. ``told`` is the usage, where
    it came."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.told: Usage | None = None
        self.over = False
        self._finishes: dict[int, str] = {}
        self._calls: dict[int, dict[int, list[str]]] = {}
        self._rest = b""

    def feed(self, part: bytes) -> list[Piece]:
        """What came, one piece a choice. Raises Refused (502) for what is no such stream."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > LINE:
            raise broken(f"sent an event of more than {LINE:,} bytes")
        found: dict[int, list[str]] = {}
        for line in lines:
            if line.startswith(b"data:") and not self.over:
                self._event(line[5:].strip(), found)
        return [
            Piece(at, texts[0]) if len(texts) == 1 else Piece(at, "".join(texts), tuple(texts))
            for at, texts in found.items()
        ]

    def end(self) -> list[Piece]:
        """The connection ended: what is left of the last part."""
        return self.feed(b"\n") if self._rest else []

    def choices(self, usage: Usage) -> list[ChatChoice]:
        """The choices, the last with ``usage``. Raises Refused for a stream that ended without a finish reason: it was
        cut."""
        if not self._finishes or set(self.texts) - set(self._finishes):
            raise broken("ended its stream before the answer was whole", code="stream_cut")
        last = max(self._finishes)
        return [
            ChatChoice(
                index, "".join(self.texts.get(index, ())), finish_of(self._finishes[index]),
                _calls(self._calls.get(index, {})), usage=usage if index == last else Usage(),
            )
            for index in sorted(self._finishes)
        ]  # fmt: skip

    def _event(self, data: bytes, found: dict[int, list[str]]) -> None:
        if data == b"[DONE]":
            self.over = True
            return
        try:
            chunk = orjson.loads(data)
        except ValueError:
            raise broken("sent an event that is not JSON") from None
        if not isinstance(chunk, dict) or chunk.get("error"):
            raise refusal_of(200, data, None)
        if (told := chunk.get("usage")) is not None:
            self.told = usage_of(told)
        try:
            for choice in chunk.get("choices") or ():
                index, delta = int(choice.get("index", 0)), choice.get("delta") or {}
                if text := text_of(delta.get("content")):
                    found.setdefault(index, []).append(text)
                    self.texts.setdefault(index, []).append(text)
                for call in delta.get("tool_calls") or ():
                    _add_call(self._calls.setdefault(index, {}), call)
                if reason := choice.get("finish_reason"):
                    self._finishes[index] = reason
        except (KeyError, TypeError, ValueError, AttributeError):
            raise broken("sent an event that is no part of a completion") from None


def _add_call(calls: dict[int, list[str]], part: Any) -> None:
    with suppress(TypeError, ValueError, AttributeError):
        function = part.get("function") or {}
        add_call(calls, part.get("index"), part.get("id"), function.get("name"), function.get("arguments"))


def _calls(parts: dict[int, list[str]]) -> tuple[ToolCall, ...]:
    made = []
    for index, (id, name, arguments) in sorted(parts.items()):
        if not name:
            raise broken("called a tool without its name")
        made.append(ToolCall(id or f"call_{index}", name, arguments_of(arguments)))
    return tuple(made)
