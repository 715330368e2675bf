"""Group commit: rows of all concurrent callers go to disk in one transaction, by one thread, and each caller is answered when
its own are durable.

The thread is woken at the end of the event loop's turn in which the first row came, takes all there is, and whatever arrives
while it commits makes the next batch. So a lone caller waits for one commit and nothing else, and ten thousand callers share
a handful of them. What nobody waits for (book-keeping, served requests) goes with the next rows, or after IDLE seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rung.core.errors import StoreError

LIMIT = 10_000
"""Rows in one transaction at most (a single call's rows are never split), so that another process gets its turn."""

IDLE = 0.5
"""Seconds after which what nobody waits for is written, whether or not rows have come."""

QUEUE = 64 * 2**20
"""Characters of served requests that wait to be written at most; more are left out."""

logger = logging.getLogger("rung.store")


class Entry(NamedTuple):
    """One answer for the journal: hashes of the program and the example, JSON text, and the run that made it."""

    program: str
    example: str
    payload: str
    repeat: int = 0
    run: str = ""


class Served(NamedTuple):
    """A request that was answered over HTTP: the response's id, the model asked for, JSON text, and when (Unix seconds)."""

    id: str
    model: str
    payload: str
    created: float


@dataclass(slots=True)
class Batch:
    """What one transaction writes. ``answers`` and ``responses`` are acknowledged, nobody waits for the rest."""

    answers: list[Entry] = field(default_factory=list)
    responses: list[tuple[str, str]] = field(default_factory=list)
    programs: set[str] = field(default_factory=set)
    hits: Counter[str] = field(default_factory=Counter)
    served: list[Served] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.answers or self.responses or self.programs or self.hits or self.served)


@dataclass(slots=True)
class _Call:
    answers: Sequence[Entry]
    responses: Sequence[tuple[str, str]]
    future: asyncio.Future[None]


class Journal:
    """The writer thread and its queue. ``write`` makes a Batch durable or raises."""

    def __init__(self, write: Callable[[Batch], None]) -> None:
        self._write = write
        self._calls: list[_Call] = []
        self._aside = Batch()
        self._aside_by = 0.0
        self._queued = 0
        self._ready = threading.Condition()
        self._due = False
        # The loop that has promised to wake the thread. Another one makes its own promise: the first may have stopped.
        self._waker: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None

    async def record(self, answers: Sequence[Entry], responses: Sequence[tuple[str, str]] = ()) -> None:
        """Queue rows and return when they are durable. Raises StoreError when they could not be written.

        Cancelling the wait does not withdraw the rows.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._ready:
            self._check()
            self._calls.append(_Call(answers, responses, future))
            wake, self._waker = self._waker is not loop, loop
        if wake:
            loop.call_soon(self._wake)
        await future

    def note(self, *, program: str = "", hit: str = "", served: Served | None = None) -> bool:
        """Queue what nobody waits for: it goes with the next rows, or after IDLE seconds, and is lost (False: it is already, the
        queue is full) rather than ever failing a caller or making one wait."""
        with self._ready:
            if self._closing:
                return False
            if served is not None:
                size = len(served.payload)
                if self._queued and self._queued + size > QUEUE:
                    return False
                self._queued += size
            if not self._aside:
                self._aside_by = time.monotonic() + IDLE
                self._start()
                self._ready.notify()
            if program:
                self._aside.programs.add(program)
            if hit:
                self._aside.hits[hit] += 1
            if served is not None:
                self._aside.served.append(served)
            return True

    def close(self) -> None:
        """Write what is queued and end the thread."""
        with self._ready:
            self._closing = True
            if self._calls or self._aside:
                self._start()
            self._ready.notify()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join()

    def _check(self) -> None:
        if self._closing:
            raise StoreError("the store is closed", remedy="open it again: open_store(url)")
        if self._pid != os.getpid():
            raise StoreError("the store was opened before this process was forked", remedy="open it anew in the child")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rung-journal", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        with self._ready:
            self._due = True
            self._start()
            self._ready.notify()

    def _take(self) -> tuple[list[_Call], Batch]:
        """Under the lock: the next calls, LIMIT rows of them at most, and their batch."""
        batch, self._aside = self._aside, Batch()
        taken = 0
        for call in self._calls:
            if taken and len(batch.answers) + len(batch.responses) + len(call.answers) > LIMIT:
                break
            batch.answers.extend(call.answers)
            batch.responses.extend(call.responses)
            taken += 1
        self._queued = 0
        calls, self._calls = self._calls[:taken], self._calls[taken:]
        self._due, self._waker = bool(self._calls), None
        return calls, batch

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._due or self._closing):
                    left = self._aside_by - time.monotonic() if self._aside else None
                    if left is not None and left <= 0:
                        break
                    self._ready.wait(left)
                if self._closing and not (self._calls or self._aside):
                    return
                calls, batch = self._take()
            error: StoreError | None = None
            try:
                self._write(batch)
            except StoreError as raised:
                error = raised
            except Exception as raised:
                error = StoreError(f"could not write to the store: {type(raised).__name__}: {raised}")
            if error is not None and batch.served:
                logger.error("%d served requests were not recorded: %s", len(batch.served), error.message)
            _answer(calls, error)


def _answer(calls: Sequence[_Call], error: StoreError | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for call in calls:
        by_loop.setdefault(call.future.get_loop(), []).append(call.future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, futures, error)
        except RuntimeError:  # the loop was closed: nobody waits any more
            continue


def _settle(futures: Sequence[asyncio.Future[None]], error: StoreError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            # A new one each: a shared exception would collect the tracebacks of all who raise it.
            future.set_exception(StoreError(error.message, remedy=error.remedy))
