"""``rung init``: a task of one's own, ready to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, for instance my-task.")],
    kind: Annotated[
        str,
        typer.Option(help="The form of the answers: labels, json or text; fim: code to fill in; or a pack to copy."),
    ] = "labels",
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="The source files that fim cuts holes into.")
    ] = None,
) -> None:
    """Write a commented task file and a small data file that climb at once."""
    from rung import tasks

    path = tasks.init(folder, kind=kind, source=source)
    rows = [str(file) for file in sorted(folder.iterdir()) if file.name != "task.yaml"]
    typer.echo(" and ".join([f"wrote {path}", *rows]))
    typer.echo(f"next: rung climb {path}")
