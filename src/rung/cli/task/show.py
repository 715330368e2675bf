"""``rung show``: one run, one rung of it, or one example of that rung with the exact messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import RunId, StoreUrl
from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.parts.option import option

if TYPE_CHECKING:
    from rung.models import Pool
    from rung.store import Store


@dataclass(frozen=True)
class Shown:
    """What is shown, and how."""

    failed: bool = option(False, "Only examples that failed or scored below 1.", flags=("--failed",))
    json: bool = option(False, "Print JSON.", flags=("--json",))
    report: Path | None = option(None, "Write the HTML report of the run here.")


def show(
    shown: Shown,
    run: RunId = "last",
    rung: Annotated[str, typer.Argument(help="A rung of the run: its examples.")] = "",
    example: Annotated[
        str, typer.Argument(help="An example's id: what was sent, what came back, why it scored so.")
    ] = "",
    store: StoreUrl = None,
) -> None:
    """Show a run; with a rung its examples; with an example exactly what was sent and what came back."""
    from rich.console import Console

    from rung.cli.base import session
    from rung.core.settings import Settings
    from rung.ladder.history import read_results, read_run
    from rung.ladder.view.report import write_report
    from rung.ladder.view.table import one_example, results_table, whole
    from rung.store import open_store

    console, settings = Console(), Settings({"store": store})
    if not rung and shown.report is None:
        with open_store(settings.store_url) as opened:
            record = read_run(opened, run)
        typer.echo(canonical(record)) if shown.json else console.print(whole(record))
        return

    async def work(pool: Pool, opened: Store) -> None:
        record = read_run(opened, run)
        if shown.report is not None:
            await write_report(record, opened, pool, shown.report)
            console.print(f"Report: {shown.report}")
            return
        results = await read_results(opened, record, rung, pool)
        if shown.failed:
            results = [r for r in results if r.answer.failure is not None or r.scores[record.metrics[0]].value < 1]
        if not example:
            typer.echo(canonical(results)) if shown.json else console.print(results_table(results, record.metrics))
            return
        found = next((result for result in results if result.example.id == example), None)
        if found is None:
            raise InputError(
                f"{rung} answered no example {example!r} in run {record.id}", remedy=f"rung show {record.id} {rung}"
            )
        typer.echo(canonical(found)) if shown.json else console.print(one_example(found))

    session.run(settings, work)
