"""``rung export``: take a rung of a run as a program folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[str, typer.Argument(help="A run's id, the start of one, or `last`.")],
    rung_or_folder: Annotated[
        str, typer.Argument(metavar="[RUNG] DIR", help="Rung (default: the recommended one), folder.")
    ],
    folder: Annotated[Path | None, typer.Argument(metavar="", show_default=False)] = None,
    parity: Annotated[
        bool, typer.Option(help="Ask the exported program the run's test examples again; refuse on a difference.")
    ] = True,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of test answers that must be the same as in the run.")
    ] = 0.95,
    store: Annotated[str | None, typer.Option(help="Store URL.")] = None,
) -> None:
    """Write the recommended rung's program (or the named one's) to a folder that `rung run` and `rung serve` take."""
    import asyncio

    from rung.core.settings import Settings
    from rung.serving.promote import promote
    from rung.store import open_store

    rung, target = ("", Path(rung_or_folder)) if folder is None else (rung_or_folder, folder)
    settings = Settings({"store": store})
    with open_store(settings.store_url) as opened:
        exported, verdict = asyncio.run(
            promote(opened, run, rung, target, settings, parity=parity, agreement=agreement)
        )
    typer.echo(f"{exported.rung.title} of run {exported.run.id} is in {exported.folder}")
    typer.echo(str(verdict) if verdict is not None else "unverified: exported without the parity check")
    typer.echo(f'Use it: rung run {exported.folder} -i "..."    rung serve {exported.folder}')
