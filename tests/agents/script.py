"""A model that says what it was told to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from rung.core.parts.meter import report
from rung.core.types import Capabilities, Chunk, Reply, Request, Scores, ToolCall, Usage


class Script:
    """Gives ``said`` in order, a text or a call of a tool, each of ``each`` tokens; after the last, "closing"."""

    name = "script:test"
    fingerprint = "script"
    capabilities = Capabilities(frozenset({"json"}), tools=True, context=8192)

    def __init__(self, said: Sequence[str | ToolCall], each: int = 10) -> None:
        self.said, self.each = list(said), each
        self.requests: list[Request] = []

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        out = []
        for request in requests:
            said = self.said[len(self.requests)] if len(self.requests) < len(self.said) else "closing"
            self.requests.append(request)
            usage = Usage(1, self.count(request.messages), min(self.each, request.sampling.max_tokens))
            report(usage)
            calls = (said,) if isinstance(said, ToolCall) else ()
            if calls and not request.tools:
                said, calls = "closing", ()
            out.append(Reply(said if isinstance(said, str) else "", usage=usage, tool_calls=calls))
        return out

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        raise NotImplementedError

    async def score(self, requests: Sequence[Any]) -> list[Scores]:
        raise NotImplementedError

    def count(self, messages: Sequence[Any]) -> int:
        return sum(len(message.content.split()) + 4 for message in messages)

    async def close(self) -> None:
        pass
