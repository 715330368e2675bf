"""Exact cache: the same request of the same tenant to the same artefacts is answered with what was answered before.

Only what would be answered alike again is kept: temperature 0 or a seed (a program answers as it was evaluated), a whole answer, no
failure. There is no cache by similarity: two questions that look alike are two questions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from rung.core.codec import canonical, decode, digest, encode
from rung.core.errors import RungError
from rung.core.types import Usage
from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.store import Store

logger = logging.getLogger("rung.serving")

BYTES = 32 * 2**20
"""Of answers kept in memory; the store has them all."""

IGNORED = frozenset({"stream", "stream_options", "user", "model"})
"""Fields of a request that do not change its answer. (The model is the artefacts behind it, whose fingerprint is in the key.)"""


class AnswerCache:
    """Answers in the store, the last used ones in memory too. Two equal requests at once are asked once."""

    def __init__(self, store: Store | None, *, deterministic: frozenset[str] = frozenset()) -> None:
        self.store = store
        self.deterministic = deterministic
        """Ids behind which are programs alone: their answers do not hang on temperature and seed."""
        self._memory: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._size = 0
        self._flights: dict[str, asyncio.Future[str | None]] = {}

    def key(self, request: ChatRequest, fingerprint: str, tenant: str, *, any: bool = False) -> str:
        """Under which the answer is kept; empty: it is not. ``any``: also where the same question may be answered otherwise."""
        steady = request.model in self.deterministic or request.temperature == 0 or request.seed is not None
        if not (steady or any) or request.rung:
            return ""
        fields = request.model_dump(exclude_none=True, exclude=IGNORED)  # type: ignore[arg-type]
        return digest(["answer", fingerprint, tenant, canonical(fields)])

    async def find(self, key: str, age: float = 0.0) -> list[ChatChoice] | None:
        """What is kept under ``key`` and no older than ``age`` seconds (0: of any age)."""
        found = self._memory.get(key)
        if found is not None:
            self._memory.move_to_end(key)
        elif self.store is not None:
            try:
                text = await asyncio.to_thread(self.store.responses.get, key)
            except RungError as error:
                logger.error("the cache cannot be read: %s", error.message)
                return None
            if text is None:
                return None
            found = (float(json.loads(text)["at"]), text)
            self._remember(key, *found)
        if found is None or (age and found[0] < time.time() - age):
            return None
        return _choices(found[1])

    async def through(
        self, key: str, events: AsyncGenerator[Piece | ChatChoice], age: float, *, live: bool
    ) -> AsyncGenerator[Piece | ChatChoice]:
        """The kept answer, or ``events``, which are then kept."""
        async with aclosing(events):
            choices = await self.find(key, age)
            while choices is None and (flight := self._flights.get(key)) is not None:
                text = await asyncio.shield(flight)
                choices = _choices(text) if text is not None else None
            if choices is not None:
                call = current()
                call.cache, call.served_by = "hit", "cache"
                call.saved = sum((choice.usage for choice in choices), Usage())
                for choice in choices:
                    if live and choice.text:
                        yield Piece(choice.index, choice.text)
                    yield replace(choice, usage=Usage())
                return
            current().cache = "miss"
            flight = self._flights[key] = asyncio.get_running_loop().create_future()
            text = None
            try:
                made: list[ChatChoice] = []
                async for event in events:
                    if isinstance(event, ChatChoice):
                        made.append(event)
                    yield event
                if _whole(made) and not current().degraded:
                    text = json.dumps({"at": time.time(), "choices": encode(made)}, ensure_ascii=False)
                    self._keep(key, text)
            finally:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.done():
                    flight.set_result(text)

    def _keep(self, key: str, text: str) -> None:
        self._remember(key, time.time(), text)
        if self.store is not None:
            self.store.responses.keep(key, text, current().subject)

    def _remember(self, key: str, at: float, text: str) -> None:
        if (old := self._memory.pop(key, None)) is not None:
            self._size -= len(old[1])
        self._memory[key] = (at, text)
        self._size += len(text)
        while self._size > BYTES and self._memory:
            _, (_, gone) = self._memory.popitem(last=False)
            self._size -= len(gone)

    def forget(self) -> None:
        """Drop what is in memory (the store was changed from outside)."""
        self._memory.clear()
        self._size = 0


def _whole(choices: Sequence[ChatChoice]) -> bool:
    return bool(choices) and all(choice.finish in ("stop", "tool_calls") for choice in choices)


def _choices(text: str) -> list[ChatChoice]:
    return [decode(ChatChoice, one) for one in json.loads(text)["choices"]]
