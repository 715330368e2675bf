"""``rung climb``: try every technique on a task, measure, recommend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rung import front, tasks
from rung.cli.options import ModelNames, Seed, StoreUrl, TaskName
from rung.core.settings import Settings
from rung.core.types import Budget
from rung.ladder.prepare.estimate import estimate
from rung.ladder.records import RunRecord
from rung.ladder.view.live import Display
from rung.ladder.view.table import table, whole


def climb(
    task: TaskName,
    model: ModelNames = None,
    rung: Annotated[list[str] | None, typer.Option("--rung", "-r", help="Try only this rung; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many test examples.", min=1)] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print expected calls, tokens, money and time; ask nothing.")
    ] = False,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Never stop a rung early.")] = False,
    tokens: Annotated[int | None, typer.Option(help="Hard budget in tokens.", min=1)] = None,
    money: Annotated[float | None, typer.Option(help="Hard budget in US dollars.", min=0)] = None,
    seconds: Annotated[float | None, typer.Option(help="Hard budget in seconds.", min=0)] = None,
    store: StoreUrl = None,
    seed: Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live display.")] = False,
) -> None:
    """Climb a task: try every technique on it, measure each with one ruler, recommend the cheapest good enough."""
    console = Console()
    settings = Settings({"store": store})
    loaded = tasks.load(task, models=model, rungs=rung)
    if dry_run:
        console.print(table(estimate(front.narrow(loaded, limit, Budget(tokens, money, seconds)), settings)))
        return
    try:
        with Display(console, quiet=quiet) as display:
            run = front.climb(
                loaded,
                limit=limit,
                budget=Budget(tokens, money, seconds),
                early=not exhaustive,
                seed=seed,
                report=report,
                settings=settings,
                observer=display,
            )
    except KeyboardInterrupt:
        typer.echo("rung: stopped; what was answered is kept, and the same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    target = report or front.report_path(settings, run.id)
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
