"""How long an endpoint may be silent: before anything comes of a stream, between its pieces, and for a whole answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from rung.core.errors import RungError
from rung.serving.access.call import current
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.refusal import refusal
from rung.serving.gateway.member import RouteMember


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: ``first`` until the first piece of a stream, ``between`` two pieces, ``whole`` for an answer in one
    piece."""

    first: float = 30.0
    between: float = 30.0
    whole: float = 120.0


class PieceTimer:
    """Cancels the task that waits, when nothing has come in time. It is one timer however often it is wound: a stream
    waits for every piece (``asyncio.timeout`` makes a timer each time)."""

    __slots__ = ("_at", "_cancelling", "_handle", "_loop", "_rang", "_task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._at, self._cancelling, self._rang = math.inf, 0, False

    def wind(self, seconds: float) -> None:
        """Ring so many seconds from now, unless it is stopped or wound again before."""
        self._at = self._loop.time() + seconds
        self._task = task = asyncio.current_task()
        assert task is not None
        self._cancelling = task.cancelling()
        if self._handle is None or self._handle.when() > self._at:
            self.end()
            self._handle = self._loop.call_at(self._at, self._ring)

    def rest(self) -> None:
        """Nobody waits any more."""
        self._at = math.inf
        self.was_it()

    def end(self) -> None:
        """Let go of the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def was_it(self) -> bool:
        """Whether a cancellation that has come is this alarm's alone."""
        rang, self._rang = self._rang, False
        return rang and self._task is not None and self._task.uncancel() <= self._cancelling

    def _ring(self) -> None:
        self._handle = None
        if self._loop.time() < self._at < math.inf:
            self._handle = self._loop.call_at(self._at, self._ring)
        elif self._at < math.inf and self._task is not None:
            self._rang = True
            self._task.cancel()


class AnswerStream:
    """A member's answer, event by event (generators around generators cost more than the answer itself). ``first`` is
    there once it has ``begun``. It must be closed; the member is told how it ended."""

    __slots__ = ("_alarm", "_closed", "_completion", "_events", "_limits", "_live", "_member", "_started", "first")

    def __init__(
        self, member: RouteMember, events: AsyncGenerator[Piece | ChatChoice], limits: Timeouts, *, live: bool
    ) -> None:
        self._member, self._events, self._limits, self._live = member, events, limits, live
        self._alarm = PieceTimer()
        self._started = time.perf_counter()
        self._completion = 0
        self._closed = False
        self.first: Piece | ChatChoice | None = None
        member.begin()

    async def begin(self) -> AnswerStream:
        """Wait for the first event. Raises Refused, as ``next`` does; then the stream is closed."""
        limit, what = (self._limits.first, "nothing") if self._live else (self._limits.whole, "no whole answer")
        try:
            self.first = await self._next(limit, what)
        except BaseException:
            await self.close()
            raise
        current().served_by = self._member.name
        return self

    async def next(self) -> Piece | ChatChoice | None:
        """The next event; None: that was all. Raises Refused when the member fails, or (504) when nothing comes in its
        time."""
        if self._live:
            return await self._next(self._limits.between, "nothing more")
        return await self._next(self._limits.whole, "no whole answer")

    async def close(self) -> None:
        if not self._closed:
            self._end(None, None)
            await self._events.aclose()

    async def _next(self, limit: float, what: str) -> Piece | ChatChoice | None:
        if self._closed:
            return None
        cause: Exception | None = None
        self._alarm.wind(limit)
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            self._end(time.perf_counter() - self._started, None)
            return None
        except (asyncio.CancelledError, TimeoutError) as stopped:
            if isinstance(stopped, asyncio.CancelledError) and not self._alarm.was_it():
                raise
            error = Refused(504, f"the model gave {what} within {limit:g} s", code="model_timeout")
        except Refused as raised:
            error = raised
        except RungError as raised:
            error, cause = refusal(raised), raised
        else:
            if isinstance(event, ChatChoice):
                self._completion += event.usage.completion_tokens
            return event
        finally:
            self._alarm.rest()
        self._end(None, error)
        await self._events.aclose()
        raise error from cause

    def _end(self, seconds: float | None, error: Refused | None) -> None:
        self._closed = True
        self._alarm.end()
        self._member.end(seconds, error, self._completion)
