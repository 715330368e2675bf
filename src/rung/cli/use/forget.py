"""``rung forget``: delete what is known of a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import StoreUrl


def forget(
    subject: Annotated[str, typer.Option(help="The person, as requests name them in `user`.", metavar="ID")],
    rows: Annotated[
        list[Path] | None,
        typer.Option(help="A JSONL file of training rows to clean too; may be repeated.", metavar="FILE"),
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="An adapter trained on those rows, to be marked stale; may be repeated.", metavar="DIR"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    store: StoreUrl = None,
) -> None:
    """Delete all that is kept of a person: requests that servers with --subjects kept, kept answers, results, what
    agents remember, what they said of answers, and training rows made of them. Adapters trained on such rows are
    marked, and then not served."""
    from rung.core.settings import Settings
    from rung.serving.quality.forget import forget_subject
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        receipt = forget_subject(opened, subject, rows or (), adapter or (), dry=dry_run)
    for line in receipt.lines(subject, dry=dry_run):
        typer.echo(line)
