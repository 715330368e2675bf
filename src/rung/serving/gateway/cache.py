"""Exact cache: the same request of the same tenant to the same artefacts is answered with what was answered before.

Only what would be answered alike again is kept: temperature 0 or a seed (a program answers as it was evaluated), a
whole answer, no failure. There is no cache by similarity: two questions that look alike are two questions.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from typing import Any

import orjson

from rung.core.codec import decode, encode
from rung.core.errors import RungError
from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice
from rung.store import Store

logger = logging.getLogger("rung.serving")

BYTES = 8 * 2**20
"""Of answers kept in memory; the store has them all, and finds one in microseconds."""

EACH = 1000
"""Bytes that a kept answer takes beside its text."""


class Flight:
    """An answer under way, which others wait for. What is in ``made`` at the end is kept, if it is whole."""

    __slots__ = ("_cache", "_future", "_key", "_made")

    def __init__(self, cache: AnswerCache, key: str, made: list[ChatChoice]) -> None:
        self._cache, self._key, self._made = cache, key, made
        self._future: asyncio.Future[list[ChatChoice] | None] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> None:
        self._cache.flights[self._key] = self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        whole = bool(self._made) and all(choice.finish in ("stop", "tool_calls") for choice in self._made)
        found = self._made if kind is None and whole else None
        if found is not None:
            self._cache.keep(self._key, found)
        if self._cache.flights.get(self._key) is self:
            del self._cache.flights[self._key]
        self._future.set_result(found)

    async def land(self) -> list[ChatChoice] | None:
        """The answer; None: there will be none."""
        return await asyncio.shield(self._future)


class AnswerCache:
    """Answers in the store, the last used ones in memory too. Two equal requests at once are asked once."""

    def __init__(self, store: Store | None, *, deterministic: frozenset[str] = frozenset()) -> None:
        self.store = store
        self.deterministic = deterministic
        """Ids behind which are programs alone: their answers do not hang on temperature and seed."""
        self.flights: dict[str, Flight] = {}
        self._memory: OrderedDict[str, tuple[float, list[ChatChoice], int]] = OrderedDict()
        self._size = 0

    def key(self, request: ChatRequest, fingerprint: str, tenant: str, *, any: bool = False) -> str:
        """Under which the answer is kept; empty: it is not. ``any``: also where the same question may be answered
        otherwise. (The model's name is no part of it: it is the artefacts behind, whose fingerprint is.)"""
        steady = request.model in self.deterministic or request.temperature == 0 or request.seed is not None
        if not (steady or any) or request.rung:
            return ""
        return hashlib.sha256(b"%b\0%b\0%b" % (fingerprint.encode(), tenant.encode(), request.wire())).hexdigest()

    async def find(self, key: str, age: float = 0.0) -> list[ChatChoice] | None:
        """What is kept under ``key`` and no older than ``age`` seconds (0: of any age)."""
        found = self._memory.get(key)
        if found is not None:
            self._memory.move_to_end(key)
        elif self.store is not None:
            try:
                text = await self.store.responses.find(key)
            except RungError as error:
                logger.error("the cache cannot be read: %s", error.message)
                return None
            if text is None:
                return None
            document = orjson.loads(text)
            made = [decode(ChatChoice, one) for one in document["choices"]]
            found = self._remember(key, float(document["at"]), made, len(text), about=bool(document.get("about")))
        # What was kept while the clock was far ahead is not young for as long as it was ahead.
        if found is None or (age and abs(time.time() - found[0]) > age):
            return None
        return found[1]

    async def kept(self, key: str, age: float) -> list[ChatChoice] | None:
        """As ``find``, and an answer that is under way is waited for. None: the caller is to make a ``flight``, at
        once."""
        choices = await self.find(key, age)
        while choices is None and (flight := self.flights.get(key)) is not None:
            choices = await flight.land()
        return choices

    def flight(self, key: str, made: list[ChatChoice]) -> Flight:
        return Flight(self, key, made)

    def keep(self, key: str, made: list[ChatChoice]) -> None:
        now, subject = time.time(), current().subject
        plain: Any = encode(made) if any(choice.logprobs for choice in made) else made  # infinities are texts there
        try:
            text = orjson.dumps({"at": now, "choices": plain, "about": bool(subject)}, default=dict).decode()
        except TypeError:  # half a surrogate pair cannot be written
            return
        self._remember(key, now, made, len(text), about=bool(subject))
        if self.store is not None:
            self.store.responses.keep(key, text, subject)

    def _remember(
        self, key: str, at: float, made: list[ChatChoice], size: int, *, about: bool
    ) -> tuple[float, list[ChatChoice], int]:
        """Hold an answer in memory, unless it is ``about`` somebody, who may be forgotten in the store at any time."""
        if about:
            return at, made, size
        size += EACH
        if (old := self._memory.pop(key, None)) is not None:
            self._size -= old[2]
        self._memory[key] = found = (at, made, size)
        self._size += size
        while self._size > BYTES and self._memory:
            _, (_, _, gone) = self._memory.popitem(last=False)
            self._size -= gone
        return found
