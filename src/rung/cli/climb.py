"""``rung climb``: try every technique on a task, measure, recommend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def climb(
    task: Annotated[str, typer.Argument(help="A task file (task.yaml), its folder, or a built-in pack.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model, as provider:name; may be repeated.")
    ] = None,
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
    store: Annotated[str | None, typer.Option(help="Store URL (sqlite:///FILE, postgresql://...).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live display.")] = False,
) -> None:
    """Climb a task: try every technique on it, measure each with one ruler, recommend the cheapest good enough."""
    from rich.console import Console

    from rung import front, tasks
    from rung.core.settings import Settings
    from rung.core.types import Budget
    from rung.ladder.estimate import estimate
    from rung.ladder.view.live import Display
    from rung.ladder.view.table import whole

    console = Console()
    settings = Settings({"store": store})
    loaded = tasks.load(task, models=model, rungs=rung)
    if dry_run:
        console.print(estimate(loaded if limit is None else tasks.cut(loaded, test=limit), settings))
        return
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
    target = report or front.report_path(settings, run.id)
    console.print(whole(run))
    console.print(f"\nReport: {target}")
    if run.recommendation is None or not run.recommendation.rung:
        raise typer.Exit(1)
    console.print(f"Take it: rung export {run.id} my-program && rung serve my-program")
