"""``rung trace`` and ``rung replay``: what an episode did, and the same again."""

from __future__ import annotations

import asyncio
import json as encoder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.agent.agent import EpisodeId
from rung.cli.base.options import Json, StoreUrl, assigned_values

if TYPE_CHECKING:
    from rung.models import Pool
    from rung.store import Store

app = typer.Typer(
    help="Show what an episode perceived, thought, did and learned.", rich_markup_mode=None, no_args_is_help=True
)


@app.callback()
def trace() -> None:
    """Show what an episode perceived, thought, did and learned."""


@app.command("show")
def show(
    episode: EpisodeId,
    label: Annotated[str, typer.Option(metavar="LABEL", help="Only these: perceive, reason, act, learn.")] = "",
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Print every event of an episode in order."""
    from rung.agents.trace.replay import events_of
    from rung.agents.trace.steps import row, total
    from rung.core.errors import InputError
    from rung.core.parts.problem import nearest
    from rung.core.settings import Settings
    from rung.core.types.trail import LABELS
    from rung.store import open_store

    if label and label not in LABELS.values():
        raise InputError(f"unknown label {label!r}", remedy=nearest(label, set(LABELS.values())))
    with open_store(Settings({"store": store}).store_url) as opened:
        found = opened.episodes.find(episode)
        events = events_of(found.id, opened.episodes.trail())
    for event in events:
        name = LABELS.get(event.kind, event.kind)
        if label and name != label:
            continue
        if json:
            typer.echo(encoder.dumps({**event._asdict(), "label": name}, ensure_ascii=False))
            continue
        typer.echo(row(event, total([event])))


@app.command("export")
def export(
    episode: EpisodeId,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where it goes; default: printed.")] = None,
    content: Annotated[bool, typer.Option("--content/--no-content", help="With texts, arguments and results.")] = True,
    store: StoreUrl = None,
) -> None:
    """Write an episode as OpenTelemetry spans (OTLP in JSON, the gen_ai names), to be sent to any collector's
    /v1/traces."""
    from rung.agents.trace.otel import spans_of
    from rung.agents.trace.replay import events_of
    from rung.core.settings import Settings
    from rung.core.system.files import write_file
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = opened.episodes.find(episode)
        spans = spans_of(events_of(found.id, opened.episodes.trail()), content=content)
    text = encoder.dumps(spans, ensure_ascii=False, indent=1)
    if to is None:
        typer.echo(text)
        return
    write_file(to, f"{text}\n".encode())
    typer.echo(f"{len(spans['resourceSpans'][0]['scopeSpans'][0]['spans'])} spans: {to}")


@app.command("delete")
def delete(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="The id of a served answer, or of an episode.")],
    store: StoreUrl = None,
) -> None:
    """Delete a trace, from the file's free pages too. Rows and weights made of it are stale from then on: rung data
    status."""
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.store import open_store
    from rung.store.people.forgetting import forget_trace

    with open_store(Settings({"store": store}).store_url) as opened:
        if opened.served.missing([trace]):
            trace = opened.episodes.find(trace).id  # also by the beginning of its id; raises for what there is not
        count = forget_trace(opened.database, trace)
    if not count:
        raise InputError(f"there is no trace {trace}", remedy="see: rung agent list", code="no-trace")
    typer.echo(f"{trace} is deleted ({count:,} rows); what descends from it: rung data status FILE...")


def replay(
    episode: EpisodeId,
    live: Annotated[str, typer.Option(metavar="PART", help="model or tools: really asked or called again.")] = "",
    begin: Annotated[
        int | None, typer.Option("--from", metavar="N", help="Fork a new episode that differs from event N on.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="What event N says instead; may be repeated."),
    ] = None,
    store: StoreUrl = None,
) -> None:
    """Do an episode again and compare every event; the first that differs is shown, and the exit code is 1."""
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    if live not in ("", "model", "tools"):
        raise InputError(f"got --live {live}", remedy="write --live model or --live tools")
    if bool(sets) != (begin is not None):
        raise InputError("--from and --set go together", remedy="type: rung replay EPISODE --from 4 --set text=...")
    settings = Settings({"store": store})

    async def work() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                if begin is not None:
                    return await _fork(opened, pool, episode, begin, sets or [])
                return await _again(opened, pool, episode, live)

    raise typer.Exit(asyncio.run(work()))


async def _again(store: Store, pool: Pool, episode: str, live: str) -> int:
    from rung.agents.program.open import reopen
    from rung.agents.trace.replay import comparable, events_of, replay
    from rung.core.parts.place import within

    found = store.episodes.find(episode)
    events = events_of(found.id, store.episodes.trail())
    program, _, folder = reopen(events, pool)
    with within(folder):
        different = await replay(program.agent(), events, live=frozenset((live,)) if live else frozenset())
    await program.close()
    if different is None:
        n = comparable(events)
        rest = "" if n == len(events) else f"; from event {n} on a person had a part in it, which is not compared"
        typer.echo(f"episode {found.id}: {n} events, the same again{rest}")
        return 0
    typer.echo(f"episode {found.id}: event {different.seq} came out otherwise", err=True)
    typer.echo(
        f"  recorded: {different.recorded or '(nothing)'}\n  now:      {different.made or '(nothing)'}", err=True
    )
    return 1


async def _fork(store: Store, pool: Pool, episode: str, begin: int, sets: list[str]) -> int:
    from rung.agents.program.open import reopen
    from rung.agents.trace.replay import events_of, fork
    from rung.core.codec import digest, spell
    from rung.core.parts.place import within

    found = store.episodes.find(episode)
    trail = store.episodes.trail()
    events = events_of(found.id, trail)
    program, _, folder = reopen(events, pool)
    id = digest([found.id, begin, sets])[:20]
    with within(folder):
        view = await fork(program.agent(), events, begin, assigned_values(sets), trail, id)
    await program.close()
    typer.echo(f"rung: episode {id}, from event {begin} of {found.id}", err=True)
    if view.ended is not None and view.ended.get("output") is not None:
        typer.echo(spell(view.ended["output"]))
    return 0 if view.ended is not None else 3
