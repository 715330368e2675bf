"""``rung agent memory``: what agents remember of people; edited and forgotten by them."""

from __future__ import annotations

import json as encoder
import time
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, StoreUrl

if TYPE_CHECKING:
    from rung.core.types.memory import MemoryItem
    from rung.store import Store

app = typer.Typer(
    help="See, edit and forget what agents remember of a user.", rich_markup_mode=None, no_args_is_help=True
)

User = Annotated[
    str, typer.Option("--user", metavar="NAME", help="Whose memory (default: that of episodes without a user).")
]
Item = Annotated[str, typer.Argument(metavar="ID", help="An item's id, or the beginning of it.")]


def _open(store: str | None) -> Store:
    from rung.core.settings import Settings
    from rung.store import open_store

    return open_store(Settings({"store": store}).store_url)


def _find(store: Store, user: str, id: str) -> MemoryItem:
    from rung.core.errors import InputError

    fits = [item for item in store.episodes.memories.of(user) if id and item.id.startswith(id.lower())]
    if len(fits) != 1:
        what = "nothing" if not fits else f"{len(fits)} things"
        raise InputError(
            f"of user {user!r} {what} with the id {id!r} is remembered",
            remedy="list them: rung agent memory list --user NAME",
            code="no-memory",
        )
    return fits[0]


@app.command("list")
def list_items(user: User = "", json: Json = False, store: StoreUrl = None) -> None:
    """List what is remembered of a user, oldest first, each with the event that it comes from."""
    from rung.core.codec import encode

    with _open(store) as opened:
        found, users = opened.episodes.memories.of(user), opened.episodes.memories.users()
    if json:
        typer.echo(encoder.dumps([encode(item) for item in found], ensure_ascii=False))
        return
    for item in found:
        day = time.strftime("%Y-%m-%d", time.localtime(item.at))
        where = f"{item.source}, characters {item.begin} to {item.end}" if item.kind == "fact" else item.source
        typer.echo(
            f"{item.id[:8]}  {day}  {item.owner:<10} {' '.join(item.text.split())[:200]}\n          from {where}"
        )
    if not found:
        others = ", ".join(f"{name or '(no name)'} ({n})" for name, n in users)
        typer.echo(f"nothing is remembered of user {user!r}" + (f"; of others: {others}" if others else ""))


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(help="What is to be remembered.")],
    user: User = "",
    name: Annotated[str, typer.Option("--memory", metavar="NAME", help="The name of the memory.")] = "facts",
    store: StoreUrl = None,
) -> None:
    """Remember something that a user says outside of any episode."""
    from rung.core.codec import digest
    from rung.core.errors import InputError
    from rung.core.types.memory import MemoryItem

    text = " ".join(text.split())
    if not text:
        raise InputError("there is nothing to remember", remedy='type: rung agent memory add "I like tea." --user NAME')
    id = digest([name, user, text.casefold()])[:16]
    with _open(store) as opened:
        opened.episodes.memories.keep(
            [MemoryItem(id, name, user, "fact", text, text, "person", 0, len(text), at=time.time())]
        )
    typer.echo(f"{id[:8]}  {text}")


@app.command("edit")
def edit(
    id: Item,
    text: Annotated[str, typer.Argument(help="What it says from now on.")],
    user: User = "",
    store: StoreUrl = None,
) -> None:
    """Change what an item says; the words it was made from stay as its source."""
    with _open(store) as opened:
        found = _find(opened, user, id)
        opened.episodes.memories.edit(user, found.id, " ".join(text.split()))
    typer.echo(f"{found.id[:8]}  {text}")


@app.command("forget")
def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Items; without any give --all.")] = None,
    user: User = "",
    everything: Annotated[bool, typer.Option("--all", help="All items of the user, and their episodes.")] = False,
    store: StoreUrl = None,
) -> None:
    """Forget items of a user to the last byte: also the words in the episodes they came from, and in whatever was made
    of them."""
    from rung.core.errors import InputError
    from rung.store.people.forgetting import forget as forget_items

    if bool(ids) == everything:
        raise InputError("say what is to be forgotten", remedy="give ids, or --all")
    with _open(store) as opened:
        chosen = None if everything else [_find(opened, user, id).id for id in ids or ()]
        done = forget_items(opened.database, user, chosen)
    typer.echo(f"forgotten: {done.items} items; {done.events} events and {done.rows} other rows held their words")
