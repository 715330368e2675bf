"""``rung run``: answer with a program folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A program made by: rung export RUN DIR")] = None,
    item: Annotated[
        list[str] | None, typer.Option("-i", metavar="TEXT", help="An input, or FIELD=TEXT for each of its fields.")
    ] = None,
    input: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Inputs as JSONL; - reads standard input.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything about each answer, one JSON object a line.")
    ] = False,
) -> None:
    """Answer inputs with a program, on this machine."""
    from rung.core.errors import InputError

    if folder is None:
        raise InputError("nothing to run", remedy='name a program folder: rung run DIR -i "..."')
    _run_program(folder, tuple(item or ()), input, json)


def _run_program(folder: Path, given: tuple[str, ...], file: Path | None, whole: bool) -> None:
    import asyncio
    import sys

    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.serving.local import run_folder

    settings = Settings()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def work() -> int:
        pool = Pool(settings)
        try:
            failures = await run_folder(
                folder, given, file, pool, whole=whole, concurrency=settings["concurrency"], write=write
            )
        finally:
            await pool.close()
        for failure in failures if file is None and len(given) <= 1 and not whole else ():
            typer.echo(f"rung: no answer ({failure.where}): {failure.message}", err=True)
        return len(failures)

    if asyncio.run(work()):
        raise typer.Exit(1)
