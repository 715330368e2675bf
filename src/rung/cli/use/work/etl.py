"""``rung etl``: a table in, a table out, with columns that programs answer."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path

import typer

from rung.cli.base.options import StoreUrl, assigned
from rung.core.parts.option import argument, option


@dataclass(frozen=True)
class EtlOptions:
    """What is read, asked and written."""

    source: Path = argument("A table: CSV, TSV, JSONL, Parquet.", "SRC")
    column: tuple[str, ...] = option(
        MISSING, "A new column and the program folder that answers it.", metavar="NAME=DIR"
    )
    to: str = option(MISSING, "The database to write to: sqlite:///FILE or postgresql://...", metavar="URL")
    table: str = option("", "Its table (default: the source's name).", metavar="NAME")
    taken: tuple[str, ...] = option(
        (), "A program's field and the source's column it is taken from.", flags=("--from",), metavar="FIELD=COLUMN"
    )
    budget: float | None = option(None, "US dollars that this run may spend.", low=0, metavar="DOLLARS")
    tokens: int | None = option(None, "Tokens that this run may use.", low=1)
    on: str = option("local", "Where the programs answer: local or ray.")


def etl(options: EtlOptions, store: StoreUrl = None) -> None:
    """Answer a column for each row of a table and write both to a database; goes on where it was stopped.

    The exit code is 3 when the budget ended it, 1 when rows could not be answered (see the table errors).
    """
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import Budget
    from rung.models import Pool
    from rung.serving.endpoints.local import open_folder
    from rung.serving.work.etl import AnswerColumn, Etl, EtlReport
    from rung.store import open_store

    if options.on not in ("local", "ray"):
        raise InputError(f"got --on {options.on}, expected local or ray", remedy="for instance: --on ray")
    settings = Settings({"store": store})
    fields = assigned(options.taken, "--from")

    def say(report: EtlReport) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{report.rows:,} rows, ${report.usage.money:.4f}", err=True, nl=False)

    async def work() -> EtlReport:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                columns = [
                    AnswerColumn(name, open_folder(Path(folder), pool), fields)
                    for given in options.column  # one by one, so that a name given twice is seen
                    for name, folder in assigned([given], "--column").items()
                ]
                budget = Budget(options.tokens, options.budget)
                table = options.table or options.source.stem
                job = Etl(opened, columns, options.to, table, budget, settings["concurrency"], options.on)
                return await job.run(options.source, say)

    report = asyncio.run(work())
    typer.echo(
        f"{report.rows:,} rows are written: {report.asked:,} answers made, {report.kept:,} from the journal, "
        f"{report.failed:,} rows failed; ${report.usage.money:.4f}, {report.usage.tokens:,} tokens"
    )
    if report.stopped:
        typer.echo(f"rung: stopped: {report.stopped}\n  → the same command goes on with what is left", err=True)
        raise typer.Exit(3)
    if report.failed:
        raise typer.Exit(1)
