"""How much a server takes on: so many requests at work, so many waiting, the rest told when to come again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from rung.core.parts.option import option
from rung.serving.apis.wire.refused import Refused

CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Limits:
    """``body`` in bytes, ``characters`` of a program's input, times in seconds. ``deadline`` covers waiting and the
    whole answer; ``grace`` is how long requests at work may go on after SIGTERM."""

    body: int = option(4 * 1024 * 1024, "Largest request body in bytes.", low=1024)
    characters: int = option(CHARACTERS, "Longest input of a program in characters.", low=1)
    running: int = option(64, "Requests at work at once.", low=1)
    waiting: int = option(256, "Requests in line; more get 503 with Retry-After.", low=0)
    deadline: float = option(300.0, "Seconds that one request may take.", low=0.1)
    grace: float = option(30.0, "Seconds that requests may go on after SIGTERM.", low=1)


class RequestQueue:
    """At most ``limits.running`` requests inside, ``limits.waiting`` in line; more are refused at once (503,
    Retry-After)."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.running)
        self.waiting = 0
        self.running = 0
        self._mean = 0.0

    def turn(self) -> _Turn:
        """A place inside, as an asynchronous context. Raises Refused where the line is too long."""
        return _Turn(self)

    async def enter(self) -> None:
        if self._slots.locked():
            if self.waiting >= self.limits.waiting:
                raise Refused(
                    503,
                    f"the server is busy: {self.running} requests at work, {self.waiting} waiting",
                    code="overloaded",
                    retry_after=self.estimate(),
                )
            self.waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._slots.acquire()
        self.running += 1

    def leave(self, seconds: float | None) -> None:
        """Give the place back after so many ``seconds``; None: the request failed."""
        self.running -= 1
        self._slots.release()
        if seconds is not None:
            self._mean = seconds if not self._mean else 0.9 * self._mean + 0.1 * seconds

    def estimate(self) -> float:
        """Seconds until the line as it is now has been served, between 1 and 60."""
        return min(60.0, max(1.0, self._mean * (self.waiting + 1) / self.limits.running))


class _Turn:
    __slots__ = ("_queue", "_started")

    def __init__(self, queue: RequestQueue) -> None:
        self._queue = queue

    async def __aenter__(self) -> None:
        await self._queue.enter()
        self._started = time.monotonic()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._queue.leave(time.monotonic() - self._started if kind is None else None)
