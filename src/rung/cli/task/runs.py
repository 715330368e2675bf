"""``rung runs``: the runs in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json

if TYPE_CHECKING:
    from rung.store import Store


def runs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 20,
    looks: Annotated[
        bool, typer.Option("--looks", help="Each look at test results instead: when, who, what, which program.")
    ] = False,
    json: Json = False,
    store: Annotated[str | None, typer.Option(help="Store URL.")] = None,
) -> None:
    """List runs, newest first."""
    from json import dumps

    from rich.console import Console

    from rung.core.codec import encode
    from rung.core.settings import Settings
    from rung.ladder.history import read_runs
    from rung.ladder.view.numbers import quality, seconds
    from rung.ladder.view.table import table
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        if looks:
            _looks(opened, limit, json)
            return
        records = read_runs(opened, limit)
    if json:
        typer.echo(dumps([encode(run) for run in records], indent=2))
        return
    if not records:
        typer.echo("no runs yet; type: rung climb support-intent")
        return
    rows = [["run", "when", "task", "model", "status", "took", "recommended", "quality", "look"]]
    for run in records:
        chosen = run.recommendation.rung if run.recommendation else ""
        record = run.rung(chosen)
        value = quality(record.metrics.get(run.metrics[0])) if record else ""
        took, look = seconds(run.seconds), str(run.look or "")
        rows.append([run.id, run.created, run.task, run.model, run.status, took, chosen, value, look])
    Console().print(table(rows))


def _looks(store: Store, limit: int, json: bool) -> None:
    from datetime import datetime
    from json import dumps

    from rich.console import Console

    from rung.core.text.columns import records
    from rung.ladder.measure.looks import count
    from rung.ladder.view.table import table

    rows = [["when", "task", "what", "run", "look", "program", "who"]]
    numbers: dict[str, str] = {}
    for look in store.looks.all()[-limit:][::-1]:
        if look.run not in numbers:
            numbers[look.run] = str(count(store, look.run).number or "")
        when = datetime.fromtimestamp(look.created).astimezone().isoformat(" ", "seconds")
        rows.append([when, look.task, look.what, look.run, numbers[look.run], look.program[:12], look.who])
    if json:
        typer.echo(dumps(records(rows), indent=2))
        return
    Console().print(table(rows))
