"""``rung drift``: an alarm when what is asked (or answered) is no longer what it was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import StoreUrl
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.models import Pool


@dataclass(frozen=True)
class Watching:
    """What is watched, and how."""

    embedder: str = option("static", "What texts are seen by.")
    alpha: float = option(0.01, "Probability at most of ever raising a false alarm.", low=0.0, high=1.0)
    answers: bool = option(False, "Watch answers instead of what was asked (of served requests).", flags=("--answers",))
    job: str = option(
        "", "On an alarm, write what is to be done here: a job for rung tune or rung align.", metavar="FILE"
    )


def drift(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Texts from when all was well: a table or .txt.")
    ],
    how: Watching,
    new: Annotated[
        Path | None, typer.Argument(metavar="NEW", help="Texts since then; without it, the served requests.")
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Bet, text by text, against "nothing has changed". Exit code 1 on an alarm."""
    from rung.alignment.audit.drift import Monitor, open_job
    from rung.safety.filter import read_texts

    texts = read_texts(new) if new is not None else _served(store, answers=how.answers)
    pool = Pool(Settings({"store": store}))
    try:
        found = Monitor(pool.embedder(how.embedder), read_texts(reference), alpha=how.alpha).watch(texts)
    finally:
        asyncio.run(pool.close())
    typer.echo(
        f"{found.seen:,} texts; evidence of a change {found.evidence:.3g} to 1, {found.most:.3g} at most; an alarm at "
        f"{1 / found.alpha:,.0f} is false with probability {found.alpha:g} at most, however long one watches"
    )
    if not found.at:
        typer.echo("no alarm")
        return
    typer.echo(f"alarm after {found.at:,} texts; the strangest:")
    for rank, text in found.strangest:
        typer.echo(f"  {rank:.4f}  {text[:70]!r}")
    if how.job:
        opened = open_job(Path(how.job), found)
        typer.echo(f"a job to retrain is open in {how.job}" if opened else "a version was made for this alarm already")
    raise typer.Exit(1)


def _served(store: str | None, *, answers: bool) -> list[str]:
    from rung.alignment.people.feedback import read_served
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        said = read_served(opened.served.all())
    return [one.text if answers else one.messages[-1].content for one in said]
