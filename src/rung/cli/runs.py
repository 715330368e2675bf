"""``rung runs``: the runs in the store."""

from __future__ import annotations

from typing import Annotated

import typer


def runs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    store: Annotated[str | None, typer.Option(help="Store URL.")] = None,
) -> None:
    """List runs, newest first."""
    from rich.console import Console
    from rich.table import Table

    from rung.core.settings import Settings
    from rung.ladder.history import read_runs
    from rung.ladder.table import quality, seconds
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        records = read_runs(opened, limit)
    if not records:
        typer.echo("no runs yet; type: rung climb support-intent")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "when", "task", "model", "status", "took", "recommended", "quality"):
        table.add_column(title, no_wrap=title == "run")
    for run in records:
        chosen = run.recommendation.rung if run.recommendation else ""
        record = run.rung(chosen)
        value = quality(record.metrics.get(run.metrics[0])) if record else ""
        table.add_row(run.id, run.created, run.task, run.model, run.status, seconds(run.seconds), chosen, value)
    Console().print(table)
