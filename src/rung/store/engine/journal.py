"""Group commit: rows of all concurrent callers go to disk in one transaction, by one thread, and each caller is
answered when its own are durable.

The thread is woken at the end of the event loop's turn in which the first row came, takes all there is, and whatever
arrives while it commits makes the next batch. So a lone caller waits for one commit and nothing else, and ten thousand
callers share a handful of them. What nobody waits for (book-keeping, served requests) goes with the next rows, or after
IDLE seconds.
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
from typing import Any

import sqlalchemy as sa

from rung.core.errors import StoreError

LIMIT = 10_000
"""Rows in one transaction at most (a single call's rows are never split), so that another process gets its turn."""

IDLE = 0.5
"""Seconds after which what nobody waits for is written, whether or not rows have come."""

QUEUE = 64 * 2**20
"""Characters of served requests that wait to be written at most; more are left out."""

logger = logging.getLogger("rung.store")


class Channel:
    """Rows of one kind on their way to the database: ``write`` puts those of one transaction there, whoever they are
    from.

    Two processes that lock the same rows in different orders would deadlock Postgres, so ``write`` sorts them by key.
    """

    def __init__(self, journal: Journal, name: str, write: Callable[[sa.Connection, list[Any]], None]) -> None:
        self.name = name
        self.write = write
        self._journal = journal

    async def record(self, rows: Sequence[Any]) -> None:
        """Queue rows and return when they are durable. Raises StoreError when they could not be written.

        Cancelling the wait does not withdraw the rows.
        """
        await self._journal.record(self, rows)

    def note(self, row: Any, *, size: int = 0) -> bool:
        """Queue a row that nobody waits for: it goes with the next rows, or after IDLE seconds, and is lost (False: it
        is already, the queue is full) rather than ever failing a caller or making one wait. ``size``: characters of it
        that matter to memory; the loss of such rows is logged."""
        return self._journal.note(self, row, size)


@dataclass(slots=True)
class Batch:
    """What one transaction writes. ``noted`` is how many of its rows nobody waits for whose loss is to be logged, by
    channel."""

    rows: dict[Channel, list[Any]] = field(default_factory=dict)
    noted: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.rows)


@dataclass(slots=True)
class _Call:
    channel: Channel
    rows: Sequence[Any]
    future: asyncio.Future[None]


class Journal:
    """The writer thread and its queue. ``transact`` runs a function in one durable transaction or raises."""

    def __init__(self, transact: Callable[[Callable[[sa.Connection], None]], None]) -> None:
        self._transact = transact
        self._channels: list[Channel] = []
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

    def channel(self, name: str, write: Callable[[sa.Connection, list[Any]], None]) -> Channel:
        """A new channel. A transaction writes the channels in the order in which they were made, in every process."""
        self._channels.append(Channel(self, name, write))
        return self._channels[-1]

    async def settle(self) -> None:
        """Return when all that was noted before is durable. Raises StoreError when it could not be written."""
        await self.record(self._channels[0], ())

    async def record(self, channel: Channel, rows: Sequence[Any]) -> None:
        """See ``Channel.record``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._ready:
            self._check()
            self._calls.append(_Call(channel, rows, future))
            wake, self._waker = self._waker is not loop, loop
        if wake:
            loop.call_soon(self._wake)
        await future

    def note(self, channel: Channel, row: Any, size: int) -> bool:
        """See ``Channel.note``."""
        with self._ready:
            if self._closing or (size and self._queued and self._queued + size > QUEUE):
                return False
            self._queued += size
            if not self._aside:
                self._aside_by = time.monotonic() + IDLE
                self._start()
                self._ready.notify()
            self._aside.rows.setdefault(channel, []).append(row)
            if size:
                self._aside.noted[channel.name] += 1
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
        taken = count = 0
        for call in self._calls:
            if taken and count + len(call.rows) > LIMIT:
                break
            batch.rows.setdefault(call.channel, []).extend(call.rows)
            count += len(call.rows)
            taken += 1
        self._queued = 0
        calls, self._calls = self._calls[:taken], self._calls[taken:]
        self._due, self._waker = bool(self._calls), None
        return calls, batch

    def _write(self, batch: Batch) -> None:
        def work(link: sa.Connection) -> None:
            for channel in self._channels:
                if rows := batch.rows.get(channel):
                    channel.write(link, rows)

        self._transact(work)

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
            if error is not None:
                for name, count in batch.noted.items():
                    logger.error("%d %s were not recorded: %s", count, name, error.message)
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
