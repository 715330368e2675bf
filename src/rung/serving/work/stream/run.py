"""``rung stream``: rows in, windows out, and what is late, wrong or behind said."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.serving.endpoints.local import run_program
from rung.serving.work.etl import AnswerColumn
from rung.serving.work.stream.source import StreamRow, StreamSource, arrival, read_row
from rung.serving.work.stream.window import ClosedWindow, StreamWindows, read_time, shown_time

AHEAD = 60.0
"""Seconds that a row's time may lie in the future: one that is wrong would close all windows before their rows have
come."""


@dataclass
class StreamReport:
    """Rows that were counted, came too late, were wrong, and were known already; windows given out; seconds between the
    newest row's time and now, and rows that wait at the source."""

    rows: int = 0
    late: int = 0
    wrong: int = 0
    known: int = 0
    windows: int = 0
    lag: float | None = None
    behind: int | None = None

    def __str__(self) -> str:
        said = f"{self.rows:,} rows, {self.windows:,} windows, {self.late:,} rows too late, {self.wrong:,} wrong"
        said += f", {self.known:,} known already" if self.known else ""
        said += f", lag {self.lag:,.1f} s" if self.lag is not None else ""
        return said + (f", {self.behind:,} rows wait" if self.behind is not None else "")


@dataclass
class StreamJob:
    """``time`` names the field of a row's time; empty: when it came. ``column`` is answered by a program for each row,
    ``running`` at once. ``write`` gets each window as JSON. ``bound``: a lag in seconds above which it is told."""

    source: StreamSource
    windows: StreamWindows
    write: Callable[[str], None]
    say: Callable[[str], None]
    time: str = "time"
    column: AnswerColumn | None = None
    running: int = 64
    every: float = 5.0
    bound: float | None = None
    report: StreamReport = field(default_factory=StreamReport)
    _problems: Problems = field(default_factory=Problems)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _told: float = 0.0

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> StreamReport:
        """Until the rows end or ``stop``. Windows that are open when rows end are given out; those that are open when
        it is stopped are too where their rows cannot be read again, marked ``whole: false``. Raises InputError for too
        many groups and for a place that is gone, BrokerError."""
        self._told = time.monotonic()
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        ended = False
        try:
            async with aclosing(self.source.pieces()) as pieces:
                while not self._stop.is_set():
                    coming: asyncio.Future[Any] = asyncio.ensure_future(anext(pieces))
                    await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait({coming}, timeout=2)
                        break
                    try:
                        piece = coming.result()
                    except StopAsyncIteration:
                        ended = True
                        break
                    await self._take(piece)
            if ended or self.source.behind() is None:
                await self._give(list(self.windows.close(all=True, whole=ended)))
        finally:
            stopping.cancel()
            await self.source.end()
        return self.report

    async def _take(self, piece: Sequence[StreamRow]) -> None:
        """Count a piece, and give out what it closes."""
        self.windows.closed = max(self.windows.closed, self.source.closed)
        unread = frozenset(one for one, rows in (self.source.behind() or {}).items() if rows)
        # What is in the piece is not counted yet: the rows of one partition must not make those behind them late.
        self.windows.waiting = unread.union(row.partition for row in piece)
        await self._count(piece)
        self.windows.waiting = unread
        await self._give(list(self.windows.close()))
        self._tell()

    async def _count(self, piece: Sequence[StreamRow]) -> None:
        """Add a piece's rows to their windows."""
        read: list[tuple[StreamRow, dict[str, Any], float]] = []
        for row in piece:
            try:
                value = read_row(row)
                at = arrival() if not self.time else read_time(value.get(self.time))
                if at > arrival() + AHEAD:
                    raise InputError(f"its time {shown_time(at)} lies in the future", code="future")
                read.append((row, value, at))
            except (InputError, OverflowError, OSError) as error:
                self._wrong(row, str(getattr(error, "message", error)))
        if self.column is not None:
            read = await self._answered(self.column, read)
        for row, value, at in read:
            try:
                kept = self.windows.add(value, at, row.partition, row.offset)
            except InputError as error:
                if error.code == "too-many-groups":
                    raise
                self._wrong(row, error.message)
                continue
            if kept == "kept":
                self.report.rows += 1
            elif row.seen:
                self.report.known += 1
            else:
                self.report.late += 1
        if self.windows.newest:
            self.report.lag = max(0.0, arrival() - max(self.windows.newest.values()))

    async def _answered(
        self, column: AnswerColumn, rows: Sequence[tuple[StreamRow, dict[str, Any], float]]
    ) -> list[tuple[StreamRow, dict[str, Any], float]]:
        """The rows with the program's answers; those that it fails on are wrong."""
        asked = []
        for row, value, at in rows:
            try:
                asked.append((row, value, at, column.input(value)))
            except InputError as error:
                self._wrong(row, error.message)
        inputs = [one[3] for one in asked]
        answers = [one async for one in run_program(column.opened.program, inputs, concurrency=self.running)]
        good = []
        for (row, value, at, _), answer in zip(asked, answers, strict=True):
            if answer.failure is not None:
                self._wrong(row, answer.failure.message)
            else:
                good.append((row, {**value, column.name: answer.output}, at))
        return good

    def _wrong(self, row: StreamRow, said: str) -> None:
        self.report.wrong += 1
        if self.report.wrong <= 5 or self.report.wrong & (self.report.wrong - 1) == 0:
            self.say(
                f"{row.place}: {said}" + ("" if self.report.wrong <= 5 else f" ({self.report.wrong:,} rows so far)")
            )

    async def _give(self, rows: Sequence[ClosedWindow]) -> None:
        if not rows:
            return
        for row in rows:
            self.write(json.dumps(row.document(self.windows.by), ensure_ascii=False))
        self.report.windows += len({row.start for row in rows})
        await self.source.done(self.windows.first, self.windows.closed)

    def _tell(self) -> None:
        """How it is going, now and then."""
        now = time.monotonic()
        if now - self._told < self.every:
            return
        self._told = now
        behind = self.source.behind()
        self.report.behind = sum(behind.values()) if behind is not None else None
        over = self.bound is not None and self.report.lag is not None and self.report.lag > self.bound
        self.say(f"{'BEHIND: ' if over else ''}{self.report}, {len(self.windows.open):,} windows open")
