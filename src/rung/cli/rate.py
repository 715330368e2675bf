"""``rung rate``: people say which of two rungs' answers is better, without knowing whose is which."""

from __future__ import annotations

from typing import Annotated

import typer

from rung.cli.options import RunId, StoreUrl


def rate(
    run: RunId = "last",
    rungs: Annotated[list[str] | None, typer.Argument(help="Two or more of its rungs.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Print what was rated so far: nothing is served.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="How many questions at most.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order and of the sides; kept with each verdict.")] = 0,
    host: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8322,
    json: Annotated[bool, typer.Option("--json", help="With --report: print JSON.")] = False,
    store: StoreUrl = None,
) -> None:
    """Serve a page that shows two rungs' answers side by side in random order; --report prints what came of it."""
    import asyncio

    from rung.core.codec import canonical
    from rung.core.errors import InputError
    from rung.core.extras import require
    from rung.core.settings import Settings
    from rung.ladder.history import find_rung, read_run
    from rung.metrics.rating import summarise
    from rung.models import Pool
    from rung.store import Store, open_store
    from rung.studies.rating import Study, prepare, read_votes, table

    settings = Settings({"store": store})

    async def questions(opened: Store) -> Study:
        async with Pool(settings) as pool:
            return await prepare(opened, read_run(opened, run), rungs or [], pool, seed=seed, limit=limit)

    with open_store(settings.store_url) as opened:
        if report:
            record = read_run(opened, run)
            for name in rungs or ():
                find_rung(record, name)
            votes = read_votes(opened.ratings.of(record.id))
            if rungs:
                votes = [vote for vote in votes if {vote.left, vote.right} <= set(rungs)]
            if not votes:
                raise InputError(
                    f"nobody has rated these answers of run {record.id} yet", remedy=f"rung rate {record.id} RUNG RUNG"
                )
            found = summarise(votes)
            typer.echo(canonical(found) if json else f"Run {record.id} ({record.task}): {table(found)}")
            return
        for module in ("fastapi", "uvicorn"):
            require(module, "serving", "rung rate")
        from rung.serving.rate import run_page

        study = asyncio.run(questions(opened))
        typer.echo(f"{len(study.questions)} pairs of answers to rate; {study.same} more are the same text and left out")
        run_page(study, opened, host=host, port=port, say=typer.echo)
