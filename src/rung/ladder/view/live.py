"""The live display of a climb: the rung under way and what is behind it, with elapsed, remaining, tokens, money, quality."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from rung.core.types import Interval, Progress, Usage
from rung.ladder.records import RungRecord, RunRecord
from rung.ladder.view.table import MARKS, count, money, quality, seconds


def tell(progress: Progress, only: str = "") -> None:
    """A study's progress as one line on stderr, with nothing that moves; of one stage where ``only`` names it."""
    if only in ("", progress.stage):
        sys.stderr.write(f"{progress.done}/{progress.total} {progress.note}\n")


class Display:
    """An Observer that draws. In a pipe or a log it prints one line a finished rung and nothing that moves."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._now: list[str] = []
        self._rungs: Sequence[str] = ()
        self._metric = ""
        self._done = 0
        self._started = self._rung_started = time.monotonic()
        self._spent = Usage()
        # Last, because it draws at once.
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def run_started(self, run: RunRecord, rungs: Sequence[str]) -> None:
        self._rungs, self._metric = rungs, run.metrics[0]
        self._started = time.monotonic()
        counts = ", ".join(f"{n} {split}" for split, n in run.counts.items())
        self._say(f"[bold]Climbing {escape(run.task)}[/bold] with {escape(run.model)} ({counts}), run {run.id}")

    def rung_started(self, title: str) -> None:
        self._rung_started = time.monotonic()
        self._now = [title, "starting", ""]

    def fitting(self, title: str, progress: Progress) -> None:
        total = f"/{progress.total}" if progress.total else ""
        self._now = [
            title,
            f"fit: {progress.stage} {progress.done}{total}{self._left(progress.done, progress.total)}",
            progress.note,
        ]

    def answering(self, title: str, done: int, total: int, quality_now: Interval | None, usage: Usage) -> None:
        figures = f"{count(usage.tokens)} tokens, {money(usage.money)}"
        so_far = f"{self._metric} {quality(quality_now)}" if quality_now is not None else ""
        self._now = [title, f"{done}/{total}{self._left(done, total)}", f"{figures}  {so_far}"]

    def rung_done(self, record: RungRecord) -> None:
        self._done += 1
        self._now = []
        took = time.monotonic() - self._rung_started
        if record.online is not None:
            n = record.online.n
            self._spent = self._spent + Usage(
                prompt_tokens=round(record.online.tokens * n), money=record.online.money * n
            )
        if not record.scored:
            said = (
                f"{MARKS[record.status]}: {escape(record.reason.splitlines()[0])}"
                if record.reason
                else MARKS[record.status]
            )
            self._say(f"  {record.title:<18} [dim]{said}[/dim]")
            return
        note = f"  [dim]{MARKS[record.status]} at {record.n}/{record.planned}[/dim]" if record.status != "done" else ""
        self._say(f"  {record.title:<18} {escape(quality(record.metrics[self._metric])):<22} {seconds(took):>9}{note}")

    def run_done(self, run: RunRecord) -> None:
        self._say("")

    def _left(self, done: int, total: int | None) -> str:
        if not done or not total:
            return ""
        return f", {seconds((time.monotonic() - self._rung_started) / done * (total - done))} left"

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, highlight=False)

    def _draw(self) -> RenderableType:
        elapsed = time.monotonic() - self._started
        head = f"{self._done}/{len(self._rungs)} rungs, {seconds(elapsed)} elapsed, {count(self._spent.tokens)} tokens, {money(self._spent.money)}"
        lines: list[RenderableType] = [Text(head, style="dim")]
        if self._now:
            title, state, note = self._now
            lines.insert(0, Text.assemble("  ", (f"{title:<18} ", "bold"), f"{state}  ", (note, "dim")))
        return Group(*lines)
