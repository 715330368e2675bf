"""What a training has done so far, and who watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from rung.core.system.memory import peak_memory
from rung.core.types import Progress, Usage


@dataclass(frozen=True, slots=True)
class Mark:
    """A dev check: mean loss a trained token after ``step`` optimizer steps."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training did. ``losses`` has the mean loss a trained token of every step; ``tokens`` counts the rows'
    tokens as often as they were trained; ``computed`` is how many of them were computed (a shared prefix is, once).
    ``precision`` is what was computed in."""

    step: int = 0
    total: int = 0
    losses: tuple[float, ...] = ()
    checks: tuple[Mark, ...] = ()
    best: Mark | None = None
    tokens: int = 0
    computed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    stopped: str = ""
    resumed: int = 0
    precision: str = ""

    @property
    def usage(self) -> Usage:
        return Usage(calls=self.step, prompt_tokens=self.tokens, seconds=self.seconds, cpu_seconds=self.cpu_seconds)


def _ignore(_: Progress) -> None:
    pass


def _forget(_state: Trained, _rate: float) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches a tuning: ``progress`` is told often, ``record`` gets the state after every step and the learning
    rate that it used, ``stop`` ends the tuning within a layer's computing, resumable. Checkpoints are at most ``every``
    seconds old (longer where writing takes long), and one is written every ``saves`` steps (0: by time alone).
    ``finish`` trains no further: the last checkpoint is the training's end."""

    progress: Callable[[Progress], None] = _ignore
    record: Callable[[Trained, float], None] = _forget
    stop: threading.Event | None = None
    every: float = 20.0
    saves: int = 0
    finish: bool = False

    @property
    def stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()


UNWATCHED = Watch()


class Clock:
    """Time, CPU time and memory since a training (re)started, beside what it had used before."""

    def __init__(self, before: Trained) -> None:
        self._before = before
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def stamp(self, state: Trained) -> Trained:
        """The state with what was used until now."""
        return replace(
            state,
            seconds=self._before.seconds + time.perf_counter() - self._began,
            cpu_seconds=self._before.cpu_seconds + time.process_time() - self._cpu,
            peak_bytes=max(self._before.peak_bytes, peak_memory()),
        )

    def progress(self, now: Trained, note: str = "") -> Progress:
        """The state as a line: losses, speed, time so far and time left."""
        spent = now.seconds - self._before.seconds
        speed = (now.tokens - self._before.tokens) / max(spent, 1e-9)
        left = spent / max(1, now.step - self._before.step) * (now.total - now.step)
        said = f"loss {now.losses[-1]:.3f}"
        if now.checks:
            said += f", dev {now.checks[-1].loss:.3f}"
        said += f", {speed:,.0f} tokens/s, {now.seconds:,.0f} s so far, {left:,.0f} s left"
        return Progress("train", now.step, now.total, f"{said}; {note}" if note else said, now.usage)


SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "Failed to allocate")
"""How torch, OpenVINO and the C++ library say it: foreign errors that have neither a type nor a code of their own."""


def short_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was too little memory."""
    said = str(getattr(error, "message", error))
    return isinstance(error, MemoryError) or any(word in said for word in SHORT_OF_MEMORY)
