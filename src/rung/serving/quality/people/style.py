"""Answers over HTTP in the style that each person has come to prefer, learnt from that person's own ratings alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rung.serving.apis.wire.chat import ChatMessage, ChatRequest
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.program import ProgramEndpoint
from rung.serving.gateway.chain import leaves
from rung.store import Store, StoredSignal


@dataclass(frozen=True, slots=True)
class PersonalStyles:
    """``styles``: names, and what the model is told. Who asks is what the server keeps of a request's ``user``; ratings
    come by /v1/feedback with the same ``user``."""

    styles: Mapping[str, str]
    store: Store

    @classmethod
    def open(cls, file: Path, store: Store) -> PersonalStyles:
        """Raises InputError for a file that holds no styles."""
        from rung.alignment.people.personal import read_styles

        return cls(read_styles(file), store)

    async def choose(self, person: str, endpoint: Endpoint) -> str:
        """The style of the person's next answer; empty where a program answers: it does as it was evaluated."""
        from rung.alignment.people.personal import style_for

        if any(isinstance(one, ProgramEndpoint) for one in leaves([endpoint])):
            return ""
        return await asyncio.to_thread(style_for, self.store, person, list(self.styles))

    def ask(self, asked: ChatRequest, style: str) -> ChatRequest:
        """The request with a style told to the model: behind what a system message says already."""
        first, told = asked.messages[0], self.styles[style]
        if first.role in ("system", "developer"):
            said = first.model_copy(update={"content": f"{first.content or ''}\n{told}".lstrip()})
            return asked.model_copy(update={"messages": [said, *asked.messages[1:]]})
        return asked.model_copy(update={"messages": [ChatMessage(role="system", content=told), *asked.messages]})

    async def note(self, id: str, style: str, person: str) -> None:
        """Keep in which style the answer ``id`` is given."""
        from rung.alignment.people.personal import STYLE

        await asyncio.to_thread(self.store.signals.add, [StoredSignal(id, STYLE, 1.0, style, person)])

    @staticmethod
    def headers(style: str) -> list[tuple[bytes, bytes]]:
        return [(b"x-rung-style", quote(style).encode())] if style else []
