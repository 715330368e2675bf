"""``rung lab``: experiments with the models of the foundations room, one verb each, made of their options as every
study's."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.late import late
from rung.cli.base.options import StoreUrl
from rung.studies.lab import LABS

app = typer.Typer(
    cls=late({name: (f"task.study:{name}", line) for name, (_, line) in LABS.items()}),
    help="Train small models from scratch, look inside them, and measure them side by side.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("page")
def write_page(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An experiment that was made.")],
    file: Annotated[Path, typer.Argument(help="The Markdown file to write: docs/foundations/NAME.md.")],
    store: StoreUrl = None,
) -> None:
    """Write an experiment's page: what its files explain, and what its newest run measured."""
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.system.machine import machine
    from rung.store import open_store
    from rung.studies.lab.experiment import page
    from rung.studies.study import read

    with open_store(Settings({"store": store}).store_url) as opened:
        made = next((row for row in opened.studies.newest(1000) if row.name == name), None)
    if made is None or name not in LABS:
        raise InputError(
            f"no experiment {name!r} was made", remedy=f"make it: rung lab {name if name in LABS else next(iter(LABS))}"
        )
    study, found = read(made)
    day = datetime.fromtimestamp(made.created).astimezone().strftime("%Y-%m-%d")
    try:
        file.write_text(page(study, found, f"{day}, {machine().describe()}."), encoding="utf-8")  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot write it: {error.strerror}", file=file, remedy="name a file") from None
    typer.echo(f"{file}: experiment {made.id}, {study.name}")
