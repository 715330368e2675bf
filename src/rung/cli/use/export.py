"""``rung export``: take a rung of a run as a program folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import RunId, StoreUrl
from rung.core.errors import InputError


def export(
    run: RunId,
    where: Annotated[
        list[str], typer.Argument(metavar="[RUNG] DIR", help="The rung (default: the recommended one) and the folder.")
    ],
    parity: Annotated[
        bool, typer.Option(help="Ask the exported program the run's test examples again; refuse on a difference.")
    ] = True,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of test answers that must be the same as in the run.")
    ] = 0.95,
    store: StoreUrl = None,
) -> None:
    """Write the recommended rung's program (or the named one's) to a folder that `rung run` and `rung serve` take."""
    from rung.core.settings import Settings
    from rung.serving.quality.promote import promote
    from rung.store import open_store

    if len(where) > 2:
        raise InputError(
            f"got {len(where) + 1} arguments, expected RUN [RUNG] DIR", remedy="rung export last my-program"
        )
    rung, target = where[0] if len(where) == 2 else "", Path(where[-1])
    settings = Settings({"store": store})
    with open_store(settings.store_url) as opened:
        exported, verdict = asyncio.run(promote(opened, run, rung, target, settings, agreement if parity else None))
    typer.echo(f"{exported.rung.title} of run {exported.run.id} is in {exported.folder}")
    typer.echo(str(verdict) if verdict is not None else "unverified: exported without the parity check")
    if exported.run.look:
        said = f"Its scores are of look {exported.run.look} at the test examples (run {exported.run.id})"
        typer.echo(said + ("; bring new ones before the next release" if exported.run.look > 1 else ""))
    typer.echo(f'Use it: rung run {exported.folder} -i "..."    rung serve {exported.folder}')
