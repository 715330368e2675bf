"""``rung show``: one run, one rung of it, or one example of that rung with the exact messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[str, typer.Argument(help="A run's id, the start of one, or `last`.")] = "last",
    rung: Annotated[str, typer.Argument(help="A rung of the run: its examples.")] = "",
    example: Annotated[
        str, typer.Argument(help="An example's id: what was sent, what came back, why it scored so.")
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only examples that failed or scored below 1.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report of the run here.")] = None,
    store: Annotated[str | None, typer.Option(help="Store URL.")] = None,
) -> None:
    """Show a run; with a rung its examples; with an example exactly what was sent and what came back."""
    import asyncio

    from rich.console import Console

    from rung.core.codec import canonical
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.ladder.history import read_results, read_run
    from rung.ladder.view.report import write_report
    from rung.ladder.view.table import one_example, results_table, whole
    from rung.models import Pool
    from rung.store import open_store

    console = Console()
    settings = Settings({"store": store})

    async def work() -> None:
        with open_store(settings.store_url) as opened:
            record = read_run(opened, run)
            if report is None and not rung:
                typer.echo(canonical(record)) if json else console.print(whole(record))
                return
            async with Pool(settings) as pool:
                if report is not None:
                    await write_report(record, opened, pool, report)
                    console.print(f"Report: {report}")
                    return
                results = await read_results(opened, record, rung, pool)
        primary = record.metrics[0]
        if failed:
            results = [r for r in results if r.answer.failure is not None or r.scores[primary].value < 1]
        if example:
            results = [result for result in results if result.example.id == example]
            if not results:
                raise InputError(
                    f"{rung} answered no example {example!r} in run {record.id}",
                    remedy=f"rung show {record.id} {rung}",
                )
            typer.echo(canonical(results[0])) if json else console.print(one_example(results[0]))
            return
        typer.echo(canonical(results)) if json else console.print(results_table(results, record.metrics))

    asyncio.run(work())
