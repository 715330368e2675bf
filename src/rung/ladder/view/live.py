"""What a climb shows while it runs: at a terminal what is under way, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from threading import Event, Thread
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rung.core.types import Interval, Progress, Usage
from rung.ladder.prepare.observer import Control
from rung.ladder.records import RungRecord, RunRecord
from rung.ladder.view.interrupt import Interrupts
from rung.ladder.view.numbers import MARKS, count, money, quality, seconds

EVERY = 30.0
"""Seconds after which something is written where nothing moves."""


def tell(progress: Progress, only: str = "") -> None:
    """A study's progress as one line on stderr, with nothing that moves; of one stage where ``only`` names it."""
    if only in ("", progress.stage):
        sys.stderr.write(f"{progress.done}/{progress.total} {progress.note}\n")


class Display:
    """An Observer that draws. In a pipe or a log it prints a line for each finished rung and, ``every`` so many
    seconds, one that says how far the rung under way is; nothing that moves."""

    def __init__(self, console: Console, *, quiet: bool = False, every: float = EVERY) -> None:
        self._console, self._quiet, self._every = console, quiet, every
        self._now: list[str] = []
        self._rungs: Sequence[str] = ()
        self._metric = ""
        self._done = 0
        self._started = self._rung_started = self._stage_started = self._written = time.monotonic()
        self._stage = ""
        self._spent = self._usage = Usage()
        self._interrupts: Interrupts | None = None
        self._over = Event()
        # Last, because it draws at once.
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet:
            if self._console.is_terminal:
                self._live.start()
            else:
                Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._live.stop()

    def run_started(self, run: RunRecord, rungs: Sequence[str], control: Control) -> None:
        self._rungs, self._metric = rungs, run.metrics[0]
        self._started = time.monotonic()
        self._interrupts = Interrupts(control, self._whisper, self._pause)
        counts = ", ".join(f"{n} {split}" for split, n in run.counts.items())
        self._say(f"Climbing {run.task} with {run.model or 'no model'} ({counts}), run {run.id}", "bold")
        self._say(f"on {run.machine}, {run.threads} threads")

    def rung_started(self, title: str) -> None:
        self._rung_started = self._stage_started = time.monotonic()
        self._now, self._stage, self._usage = [title, "starting", ""], "", Usage()

    def fitting(self, title: str, progress: Progress) -> None:
        self._enter(progress.stage)
        self._usage = progress.usage
        total = f"/{progress.total}" if progress.total else ""
        state = f"fit: {progress.stage} {progress.done}{total}{self._left(progress.done, progress.total)}"
        self._now = [title, state, progress.note]

    def answering(self, title: str, done: int, total: int, quality_now: Interval | None, usage: Usage) -> None:
        self._enter("answering")
        self._usage = usage
        so_far = f"{self._metric} {quality(quality_now)}" if quality_now is not None else ""
        self._now = [title, f"answering {done}/{total}{self._left(done, total)}", so_far]

    def rung_done(self, record: RungRecord) -> None:
        self._done += 1
        self._now = []
        took = time.monotonic() - self._rung_started
        if record.online is not None:
            n = record.online.n
            self._spent = self._spent + Usage(
                prompt_tokens=round(record.online.tokens * n), money=record.online.money * n
            )
        self._usage = Usage()
        mark = MARKS[record.status]
        if not record.scored:
            reason = record.reason.splitlines()[0] if record.reason else ""
            self._say(f"  {record.title:<18} {mark}{': ' if reason else ''}{reason}")
            return
        notes = [f"{mark} at {record.n}/{record.planned}"] if record.status != "done" else []
        if record.unanswered:
            notes.append(f"{record.unanswered} calls failed: {record.said}")
        figures = f"{quality(record.metrics[self._metric]):<22} {seconds(took):>9}"
        self._say(f"  {record.title:<18} {figures}  {'; '.join(notes)}".rstrip())

    def run_done(self, run: RunRecord) -> None:
        if self._interrupts is not None:
            self._interrupts.close()
        self._say("")

    def _enter(self, stage: str) -> None:
        if stage != self._stage:
            self._stage, self._stage_started = stage, time.monotonic()

    def _left(self, done: int, total: int | None) -> str:
        if not done or not total:
            return ""
        return f", {seconds((time.monotonic() - self._stage_started) / done * (total - done))} left"

    def _say(self, text: str, style: str = "") -> None:
        if not self._quiet:
            self._written = time.monotonic()
            self._console.print(Text(text, style), soft_wrap=not self._console.is_terminal)

    def _whisper(self, text: str) -> None:
        sys.stderr.write(f"\n{text}" + ("" if text.endswith(": ") else "\n"))
        sys.stderr.flush()

    def _pause(self, paused: bool) -> None:
        if not self._quiet and self._console.is_terminal:
            self._live.stop() if paused else self._live.start()

    def _beat(self) -> None:
        """Write where the rung under way is, whenever nothing was written for a while."""
        while not self._over.wait(min(1.0, self._every / 4)):
            if self._now and time.monotonic() - self._written >= self._every:
                title, state, note = self._now
                self._say("  ".join(filter(None, [f"  {title:<18} {state}", note, self._figures()])))

    def _figures(self) -> str:
        spent = self._spent + self._usage
        elapsed = seconds(time.monotonic() - self._started)
        return f"{elapsed} elapsed, {count(spent.tokens)} tokens, {money(spent.money)} so far"

    def _draw(self) -> RenderableType:
        head = f"{self._done}/{len(self._rungs)} rungs, {self._figures()}"
        lines: list[RenderableType] = [Text(head, style="dim")]
        if self._now:
            title, state, note = self._now
            lines.insert(0, Text.assemble("  ", (f"{title:<18} ", "bold"), f"{state}  ", (note, "dim")))
        return Group(*lines)
