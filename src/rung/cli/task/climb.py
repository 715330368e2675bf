"""``rung climb``: try every technique on a task, measure, recommend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rung.cli.base.options import ModelNames, StoreUrl, TaskName
from rung.core.parts.option import option
from rung.core.types import Budget

if TYPE_CHECKING:
    from rung.ladder.records import RunRecord


@dataclass(frozen=True)
class Climbing:
    """How a task is climbed."""

    rung: tuple[str, ...] = option((), "Try only this rung; may be repeated.", flags=("--rung", "-r"))
    limit: int | None = option(None, "At most this many test examples.", low=1)
    report: Path | None = option(None, "Where to write the HTML report.")
    dry_run: bool = option(False, "Print expected calls, tokens, money and time; ask nothing.", flags=("--dry-run",))
    exhaustive: bool = option(False, "Never stop a rung early.", flags=("--exhaustive",))
    seed: int = option(0, "Seed of every random choice.")
    quiet: bool = option(False, "No live display.", flags=("--quiet", "-q"))


def climb(task: TaskName, how: Climbing, budget: Budget, model: ModelNames = None, store: StoreUrl = None) -> None:
    """Climb a task: try every technique on it, measure each with one ruler, recommend the cheapest good enough."""
    from rich.console import Console

    from rung import front, tasks
    from rung.core.settings import Settings
    from rung.ladder.prepare.estimate import estimate
    from rung.ladder.view.live import Display
    from rung.ladder.view.table import table, whole

    console = Console()
    settings = Settings({"store": store})
    loaded = tasks.load(task, models=model, rungs=how.rung or None)
    if how.dry_run:
        console.print(table(estimate(front.narrow(loaded, how.limit, budget), settings)))
        return
    try:
        with Display(console, quiet=how.quiet) as display:
            run = front.climb(
                loaded,
                limit=how.limit,
                budget=budget,
                early=not how.exhaustive,
                seed=how.seed,
                report=how.report,
                settings=settings,
                observer=display,
            )
    except KeyboardInterrupt:
        typer.echo("rung: stopped; what was answered is kept, and the same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    target = how.report or front.report_path(settings, run.id)
    console.print(whole(run))
    console.print(f"\nReport: {target}", soft_wrap=True)
    if run.recommendation is not None and run.recommendation.rung:
        console.print(f"Take it: rung export {run.id} my-program && rung serve my-program", soft_wrap=True)
        if not _silent(run):
            return
    raise typer.Exit(1)


def _silent(run: RunRecord) -> bool:
    """Whether there were calls of models and none was answered."""
    asked = [record for record in run.rungs if record.model and record.n]
    return bool(asked) and all(record.unanswered == record.n for record in asked)
