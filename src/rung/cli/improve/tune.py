"""``rung tune``: fine-tune from a configuration file."""

from __future__ import annotations

import json as codec
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from rung.cli.base.options import assigned_values
from rung.cli.improve.align.elsewhere import (
    WrittenWeights,
    check_places,
    compare_elsewhere,
    echo_elsewhere,
    items_option,
    record_elsewhere,
)
from rung.core.parts.option import argument, option

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from rich.console import Console

    from rung.core.types import Progress
    from rung.tuning.file.config import Config
    from rung.tuning.trainer.state import Trained
    from rung.tuning.weights import Base
    from rung.tuning.work import Lessons, Order, Tuned

R = TypeVar("R")

SILENCE = 30.0
"""Seconds after which the last line is said again where the output is no terminal, with the time that has passed."""


@dataclass(frozen=True)
class TuneOptions:
    """What is tuned, and what is done around it."""

    config: Path = argument("A tune.yaml.", "CONFIG")
    change: tuple[str, ...] = option((), "A setting that wins over the file's.", flags=("--set",), metavar="KEY=VALUE")
    preflight: bool = option(True, "Make the pre-flight checks before the first step (--no-preflight: do not).")
    check: bool = option(False, "Make the pre-flight checks, show one row, and stop.", flags=("--check",))
    search: bool = option(
        False, "Try rising learning rates for some steps, suggest one, and stop.", flags=("--range-test",)
    )
    parity: bool = option(True, "Open what was written and compare it with what was trained (--no-parity: do not).")
    finish: bool = option(
        False, "Train no further: write what a training that was stopped has learnt so far.", flags=("--finish",)
    )
    elsewhere: int | None = items_option()
    json: bool = option(False, "Print JSON.")
    quiet: bool = option(False, "Show no progress.", flags=("-q", "--quiet"))


def tune(asked: TuneOptions) -> None:
    """Fine-tune a base on rows with answers, on plain texts, or on a task's train split, write files that run
    elsewhere, and compare what came of it with the base on sets that were not learnt from.

    Ctrl-C (or SIGTERM) stops within two seconds, twice at once; the same command then goes on, or with --finish
    writes what it has learnt so far. Under torchrun every process computes its share.
    """
    import os

    from rich.console import Console

    from rung.core.settings import Settings
    from rung.tuning.file import job
    from rung.tuning.file.config import read
    from rung.tuning.work import Order

    plan = read(asked.config, assigned_values(asked.change))
    check_places(plan.general)
    second = int(os.environ.get("RANK", "0")) > 0  # one of several processes, and not the first
    console = Console(stderr=True, quiet=asked.quiet or second)
    base, lessons = job.gather(plan, Settings())
    _introduce(console, plan, base, lessons)
    if asked.check or asked.search:
        from rung.tuning.checks.probe import probe

        typer.echo(probe(base, lessons, plan.recipe, rates=asked.search, colour=console.is_terminal))
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch

        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    order = Order(plan.out, plan.exports, plan.name, preflight=asked.preflight, parity=asked.parity)
    done = _work(console, plan, base, lessons, order, asked.finish)
    if second:
        return
    from rung.data.sources.lineage import write_lineage

    write_lineage(plan.out, plan.data)
    if console.is_terminal:
        console.print()
    if not asked.json:
        _tell(done)  # before anything else is begun: it is done, whatever comes
    files = {str(kind): str(path) for kind, path in done.files.items()}
    trained = WrittenWeights(plan.out, plan.model or Settings()["model"], files, plan.task, plan.general)
    found = compare_elsewhere(trained, asked.elsewhere, Line(console))
    if asked.json:
        typer.echo(codec.dumps({**_record(done), **record_elsewhere(found)}, indent=1, ensure_ascii=False))
    else:
        echo_elsewhere(found)


def _introduce(console: Console, plan: Config, base: Base, lessons: Lessons) -> None:
    """What is about to happen, and what was understood differently from what was written."""
    from rung.tuning.compute.precision import choose

    held = len(lessons.dev) or len(lessons.dev_texts)
    console.print(
        f"{plan.recipe.method} tuning of {base.gguf or base.folder} on {len(lessons.conversations) or len(lessons.texts)} "
        f"rows, {held} held out, at rate {plan.recipe.peak:g}, into {plan.out}",
        highlight=False,
    )
    choice = choose(plan.recipe.precision)
    console.print(f"  computed in {choice.why}", highlight=False, markup=False)
    notes = [*plan.notes, *lessons.notes, *filter(None, [choice.warning])]
    answers = {messages[-1].content for _, messages in lessons.conversations}
    if len(lessons.conversations) > 1 == len(answers):
        notes.append("every row has the same answer: the model will learn to say nothing else")
    elif len(lessons.conversations) == 1:
        notes.append("there is one row: the model will learn it by heart, and nothing is held out to tell")
    for note in notes:
        console.print(f"  note: {note}", highlight=False, markup=False)


class Line:
    """Progress on one line of a terminal; elsewhere a line for each state, and one at least every SILENCE seconds."""

    def __init__(self, console: Console) -> None:
        import time

        self._console, self._clock = console, time.monotonic
        self._began = self._last = self._clock()
        self._said = ""

    def __call__(self, progress: Progress, curve: str = "") -> None:
        total = f"/{progress.total}" if progress.total else ""
        self._said = f"{progress.stage} {progress.done}{total} {progress.note}".rstrip()
        self._print(f"{self._said}  {curve}".rstrip())

    def remind(self) -> None:
        """Say the last line again when nothing was said for long."""
        if self._said and not self._console.is_terminal and self._clock() - self._last >= SILENCE:
            self._print(f"{self._said} (still at it, {self._clock() - self._began:,.0f} s since the start)")

    def _print(self, text: str) -> None:
        self._last = self._clock()
        terminal = self._console.is_terminal
        # A file gets the whole line, however long; a terminal one line that the next one covers.
        self._console.print(
            text,
            end="\r" if terminal else "\n",
            highlight=False,
            markup=False,
            overflow="crop" if terminal else "ignore",
            no_wrap=True,
            crop=terminal,
        )


def _work(console: Console, plan: Config, base: Base, lessons: Lessons, order: Order, finish: bool) -> Tuned:
    """The tuning in a thread of its own, while this one answers signals and keeps talking."""
    from rung.tuning.trainer import curves
    from rung.tuning.trainer.state import Watch
    from rung.tuning.work import tune as work

    line, last = Line(console), list[float]()

    with curves.Curves(plan.out, plan.tensorboard, plan.points) as written:

        def show(progress: Progress) -> None:
            line(progress, curves.spark(last, 24) if progress.stage == "train" else "")

        def record(state: Trained, rate: float) -> None:
            last[:] = state.losses
            written(state, rate)

        def run(stop: threading.Event) -> Tuned:
            watch = Watch(show, record, stop, saves=plan.saves, finish=finish)
            return work(base, lessons, plan.recipe, order, watch)

        return answering_signals(run, line)


def answering_signals(run: Callable[[threading.Event], R], line: Line) -> R:
    """Ctrl-C and SIGTERM stop the work, also where a shell started it in the background and so ignores them; a second
    one ends the process at once."""
    import asyncio
    import os
    import signal
    import sys

    from rung.core.errors import FitError
    from rung.core.system.threads import run_stoppable

    async def main() -> R:
        loop, asked = asyncio.get_running_loop(), list[int]()
        task = asyncio.create_task(run_stoppable(run))

        def answer(number: int, _: object) -> None:
            if asked:
                os._exit(128 + number)
            asked.append(number)
            loop.call_soon_threadsafe(task.cancel)

        before = {number: signal.signal(number, answer) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not task.done():
                await asyncio.wait([task], timeout=1.0)
                line.remind()
            if not task.cancelled():
                return task.result()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        error = FitError("this was stopped; what is done is kept", remedy="run the same command again to go on")
        typer.echo(f"rung: {error}", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(128 + asked[0])  # at once: a library may still be busy in the thread that was left behind

    return asyncio.run(main())


def _tell(done: Tuned) -> None:
    from rung.tuning.trainer import curves

    state = done.trained
    typer.echo(
        f"{state.step} of {state.total} steps, {state.tokens:,} tokens, {state.seconds:,.0f} s in {state.precision}: "
        f"{state.stopped}"
    )
    typer.echo(f"loss {state.losses[0]:.4f} -> {state.losses[-1]:.4f}  {curves.spark(state.losses)}")
    if state.best is not None:
        typer.echo(f"dev  {state.checks[0].loss:.4f} -> {state.best.loss:.4f} at step {state.best.step}, which is kept")
    typer.echo(f"peak memory {state.peak_bytes / 1e9:.2f} GB")
    for kind, path in done.files.items():
        typer.echo(f"{kind:8} {path}" + (f"  {done.parity[kind]}" if kind in done.parity else ""))


def _record(done: Tuned) -> dict[str, Any]:
    """What _tell says, for --json."""
    state = done.trained
    return {
        "steps": state.step,
        "planned": state.total,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "precision": state.precision,
        "stopped": state.stopped,
        "losses": list(state.losses),
        "dev": [check.loss for check in state.checks],
        "best_step": state.best.step if state.best else None,
        "peak_bytes": state.peak_bytes,
        "files": {kind: str(path) for kind, path in done.files.items()},
        "parity": {kind: str(parity) for kind, parity in done.parity.items()},
    }
