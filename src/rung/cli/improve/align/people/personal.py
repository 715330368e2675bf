"""``rung personal``: answers in the style that a person has come to prefer, learnt from that person's own ratings
alone."""

from __future__ import annotations

import asyncio
import json as codec
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from rung.cli.base.options import Json, ModelName, StoreUrl
from rung.core.errors import InputError, ModelError
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.models import Pool
from rung.store import Store, StoredSignal, open_store

app = typer.Typer(
    help="Answer people in the style that each prefers, learnt from their own ratings alone.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Styles = Annotated[Path, typer.Argument(metavar="STYLES", help="A styles.yaml: names, and what the model is told.")]
Person = Annotated[str, typer.Option("--person", metavar="NAME", help="Who asks.")]


def _open(store: str | None) -> Store:
    return open_store(Settings({"store": store}).store_url)


@app.command()
def ask(
    styles: Styles,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is asked.")],
    person: Person,
    rate: Annotated[float | None, typer.Option(min=0, max=1, help="Rate the answer at once, 0 to 1.")] = None,
    model: ModelName = None,
    store: StoreUrl = None,
) -> None:
    """Answer in the person's style; the answer is recorded, and its id takes ratings (rung feedback add)."""
    from rung.alignment.people.feedback import keep
    from rung.alignment.people.personal import STYLE, ask_in, read_styles, style_for
    from rung.core.codec import encode
    from rung.core.types import Message, Request, Sampling

    known = read_styles(styles)
    settings = Settings({"model": model, "store": store})
    with open_store(settings.store_url) as opened:
        style = style_for(opened, person, list(known))
        messages = ask_in(known[style], [Message("user", text)])

        async def work() -> tuple[str, str]:
            async with Pool(settings) as pool:
                (reply,) = await pool.model().generate([Request(tuple(messages), Sampling(max_tokens=200))])
                if reply.finish == "error":
                    raise ModelError(reply.text)
                id = f"personal-{uuid4().hex[:16]}"
                said = {"messages": [encode(one) for one in messages], "answers": [{"text": reply.text}]}
                opened.served.note(id, pool.model().name, codec.dumps({"program": f"style:{style}", **said}))
                await opened.settle()
                return id, reply.text

        id, said = asyncio.run(work())
        rows = [StoredSignal(id, STYLE, 1.0, style, person)]
        rows += [StoredSignal(id, "rating", rate, "", person)] if rate is not None else []
        keep(opened, rows)
    typer.echo(said)
    typer.echo(f"({style}; id {id})", err=True)


@app.command()
def show(styles: Styles, person: Person, store: StoreUrl = None) -> None:
    """Show what is known of one person's preferences, asked here or over HTTP.

    Delete it with: rung forget --subject PERSON.
    """
    from rung.alignment.people.feedback import said_by
    from rung.alignment.people.personal import read_styles, table

    known = read_styles(styles)
    if not person.strip():
        raise InputError("whose preference?", remedy="--person NAME", code="nobody")
    with _open(store) as opened:
        typer.echo(align(table(known, said_by(opened, person))))


@app.command()
def simulate(
    styles: Annotated[int, typer.Option(help="How many styles there are.")] = 4,
    people: Annotated[int, typer.Option(help="How many simulated people.")] = 200,
    answers: Annotated[int, typer.Option(help="Answers to each.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    json: Json = False,
) -> None:
    """Print the regret curve: what is lost against always using a person's best style, learnt and at random."""
    from rung.alignment.people.personal import simulate as work
    from rung.core.codec import encode
    from rung.ladder.view.numbers import exact

    points = work(styles, people=people, answers=answers, seed=seed)
    if json:
        typer.echo(codec.dumps([encode(point) for point in points], indent=2))
        return
    rows = [["answers", "regret, learnt", "regret, at random", "saved"]]
    rows += [[str(p.answers), exact(p.learnt), exact(p.random), exact(p.saved)] for p in points]
    typer.echo(align(rows))
