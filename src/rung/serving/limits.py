"""How much a server takes on: so many requests at work, so many waiting, the rest told when to come again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rung.serving.wire import Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """``body`` in bytes, times in seconds. ``deadline`` covers waiting and the whole answer; ``grace`` is how long requests
    at work may go on after SIGTERM."""

    body: int = 4 * 1024 * 1024
    running: int = 64
    waiting: int = 256
    deadline: float = 300.0
    grace: float = 30.0


class RequestQueue:
    """At most ``limits.running`` requests inside, ``limits.waiting`` in line; more are refused at once (503, Retry-After)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.running)
        self.waiting = 0
        self.running = 0
        self._mean = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        if self._slots.locked():
            if self.waiting >= self._limits.waiting:
                raise Refused(
                    503,
                    f"the server is busy: {self.running} requests at work, {self.waiting} waiting",
                    kind="server_error",
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
        started = time.monotonic()
        try:
            yield
            took = time.monotonic() - started
            self._mean = took if not self._mean else 0.9 * self._mean + 0.1 * took
        finally:
            self.running -= 1
            self._slots.release()

    def estimate(self) -> float:
        """Seconds until the line as it is now has been served, between 1 and 60."""
        return min(60.0, max(1.0, self._mean * (self.waiting + 1) / self._limits.running))
