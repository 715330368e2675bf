"""``rung rate``: people say which of two rungs' answers is better, without knowing whose is which."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from rung.cli.base.options import Json, RunId, StoreUrl
from rung.cli.task.study import make, on_run
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.ladder.history import read_run
from rung.models import Pool
from rung.store import Store, open_store
from rung.studies.runs.rating import Questions, Rating, prepare


@dataclass(frozen=True)
class Page:
    """What is rated, and where the page is served."""

    report: bool = option(False, "Print what was rated so far: nothing is served.", flags=("--report",))
    limit: int | None = option(None, "How many questions at most.", low=1)
    seed: int = option(0, "Seed of the order and of the sides; kept with each verdict.")
    host: str = option("127.0.0.1", "Address of this machine to listen on.")
    port: int = option(8322, "Port to listen on; 0 takes a free one.")


def rate(
    page: Page,
    run: RunId = "last",
    rungs: Annotated[list[str] | None, typer.Argument(help="Two or more of its rungs.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Serve a page that shows two rungs' answers side by side in random order; --report prints what came of it."""
    settings, chosen = Settings({"store": store}), tuple(rungs or ())
    if page.report:
        make(Rating(chosen), on_run(run), settings, json)
        return
    for module in ("fastapi", "uvicorn"):
        require(module, "serving", "rung rate")
    from rung.serving.apis.pages.rate import run_page

    async def questions(opened: Store) -> Questions:
        async with Pool(settings) as pool:
            return await prepare(opened, read_run(opened, run), chosen, pool, seed=page.seed, limit=page.limit)

    with open_store(settings.store_url) as opened:
        found = asyncio.run(questions(opened))
        typer.echo(f"{len(found.questions)} pairs of answers to rate; {found.same} more are the same text and left out")
        run_page(found, opened, host=page.host, port=page.port, say=typer.echo)
