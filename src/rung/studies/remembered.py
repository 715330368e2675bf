"""A model whose replies are journalled, for studies that ask it outside of a program's answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rung.core.codec import canonical, decode, digest
from rung.core.protocols import Model
from rung.core.types import Capabilities, Chunk, Reply, Request, ScoreRequest, Scores
from rung.store import Entry, Store

Q = TypeVar("Q", Request, ScoreRequest)
A = TypeVar("A", Reply, Scores)

TOGETHER = 32
"""Requests that are asked and journalled together: at most so many are lost when a study is killed."""


class RememberedModel:
    """Asks the inner model what the journal does not hold. Replies that failed are asked again."""

    def __init__(self, inner: Model, store: Store) -> None:
        self.inner, self._store = inner, store

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        return await self._ask(self.inner.generate, requests, Reply)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        return await self._ask(self.inner.score, requests, Scores)

    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        return self.inner.stream(request)

    def count(self, messages: Sequence[Any]) -> int:
        return self.inner.count(messages)

    async def close(self) -> None:
        await self.inner.close()

    async def _ask(
        self, ask: Callable[[Sequence[Q]], Awaitable[list[A]]], requests: Sequence[Q], kind: type[A]
    ) -> list[A]:
        program = digest(["replies", self.fingerprint, kind.__name__])
        keys = [digest(request) for request in requests]
        known = {key: decode(kind, json.loads(text)) for key, text in self._store.answers.recall(program, keys).items()}
        missing = list({key: request for key, request in zip(keys, requests, strict=True) if key not in known}.items())

        async def some(part: Sequence[tuple[str, Q]]) -> None:
            replies = dict(zip([key for key, _ in part], await ask([request for _, request in part]), strict=True))
            good = {key: reply for key, reply in replies.items() if not _failed(reply)}
            await self._store.answers.record([Entry(program, key, canonical(reply)) for key, reply in good.items()])
            known.update(replies)

        await asyncio.gather(*(some(missing[at : at + TOGETHER]) for at in range(0, len(missing), TOGETHER)))
        return [known[key] for key in keys]


def _failed(reply: Reply | Scores) -> bool:
    return isinstance(reply, Reply) and reply.finish == "error"
