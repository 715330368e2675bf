"""``rung diff``: two runs, rung by rung, on the examples that both answered."""

from __future__ import annotations

from typing import Annotated

import typer

from rung.cli.base.options import Json


def diff(
    first: Annotated[str, typer.Argument(help="A run's id, the start of one, or `last`.")],
    second: Annotated[str, typer.Argument(help="The run to compare it with.")],
    json: Json = False,
    store: Annotated[str | None, typer.Option(help="Store URL.")] = None,
) -> None:
    """Compare two runs: the paired difference of each rung they share, and the examples that changed."""
    import asyncio
    from json import dumps

    from rich.console import Console

    from rung.core.codec import encode
    from rung.core.settings import Settings
    from rung.ladder.history import compare_runs
    from rung.ladder.view.table import changes
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def work() -> None:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                found = await compare_runs(opened, first, second, pool)
        typer.echo(dumps(encode(found), indent=2)) if json else Console().print(changes(found))

    asyncio.run(work())
