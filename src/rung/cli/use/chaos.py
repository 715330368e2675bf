"""``rung chaos``: a gateway's routes under faults of their endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import Seed


def chaos(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A gateway's file.")],
    requests: Annotated[int, typer.Option(min=1, help="Requests to each route, half of them streams.")] = 200,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of an endpoint's answers that goes wrong.")] = 0.3,
    patience: Annotated[float, typer.Option(min=0.01, help="Seconds instead of the file's timeouts.")] = 1.0,
    seed: Seed = 0,
) -> None:
    """Let a gateway's endpoints fail, and see who answers: errors, limits, silence, cut streams.

    The endpoints are really asked where no fault comes between: one that costs money costs it. The exit code is 1 when
    an answer was a server error or was cut without a word.
    """
    import asyncio

    from rung.core.settings import Settings
    from rung.core.system.extras import require
    from rung.models import Pool

    for module in ("fastapi", "httptools"):
        require(module, "serving", "rung chaos")
    from rung.serving.gateway.build import Gateway
    from rung.serving.quality.chaos import provoke, table

    async def work() -> bool:
        async with Pool(Settings()) as pool:
            gateway = Gateway(file, pool, None)
            try:
                found = await provoke(gateway.read(), requests, share, seed, patience)
            finally:
                await gateway.connections.close()
        typer.echo(table(found))
        return any(report.errors or report.silent for report in found.values())

    if asyncio.run(work()):
        raise typer.Exit(1)
