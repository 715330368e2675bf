"""``rung prompt optimize``: search a better prompt for a task under a budget of model calls."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.live import Live as Drawn
from rich.text import Text

from rung.cli.base.options import Json, ModelName, StoreUrl, TaskName
from rung.cli.task.study import conduct, load, on_task
from rung.core.settings import Settings
from rung.core.types import Progress
from rung.ladder.view.numbers import seconds
from rung.studies.tasks.optimize import Optimize

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No live display.")]


def optimize(
    task: TaskName,
    study: Optimize,
    model: ModelName = None,
    quiet: Quiet = False,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Search instructions and demonstrations on train and dev; keep what wins there in a paired test; test once."""
    loaded = load(task, model)
    if study.dry_run:
        typer.echo(study.cost(loaded))
        return
    with Live(Console(stderr=True), quiet=quiet) as live:
        settings, show = Settings({"model": model, "store": store}), study.json if json else study.table
        conduct(study, on_task(loaded), settings, show, live.tell)


class Live:
    """The step, the best so far, calls used, elapsed and remaining; a line for each step that is done."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._now: Progress | None = None
        self._began = time.monotonic()
        self._drawn = Drawn(console=console, refresh_per_second=4, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawn.stop()

    def tell(self, progress: Progress) -> None:
        self._now = progress
        if not self._quiet and progress.stage.partition(" ")[0] in ("start", "step", "note", "wait"):
            self._console.print(self._line(progress), highlight=False, markup=False, soft_wrap=True)

    def _line(self, progress: Progress) -> str:
        elapsed = time.monotonic() - self._began
        total = f" of {progress.total}" if progress.total is not None else ""
        left = ""
        if progress.total and progress.done:
            left = f", at most {seconds(elapsed / progress.done * max(0, progress.total - progress.done))} left"
        what = "test answers" if progress.stage == "test" else "calls"
        return f"{progress.stage}: {progress.done}{total} {what}, {seconds(elapsed)}{left}  {progress.note}"

    def _draw(self) -> Any:
        return Text(self._line(self._now) if self._now is not None else "loading", style="dim")
