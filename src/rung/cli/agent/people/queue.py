"""``rung agent waiting``, ``approve``, ``deny``, ``edit``, ``lapse``: what agents ask of people."""

from __future__ import annotations

import asyncio
import getpass
import json as encoder
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.base.options import Json, StoreUrl, assigned_values

if TYPE_CHECKING:
    from rung.agents.loop.guard.queue import OpenQuestion
    from rung.models import Pool
    from rung.store import Store

Digest = Annotated[
    str, typer.Argument(metavar="DIGEST", help="What `rung agent waiting` shows, or the beginning of it.")
]
By = Annotated[str, typer.Option("--by", help="Who decides (default: the user of this machine).", metavar="NAME")]
Why = Annotated[str, typer.Option("--why", help="The reason; a refusal's is told to the agent.", metavar="TEXT")]
Trace = Annotated[bool, typer.Option("--trace", help="Print every event: perceive, reason, act, learn.")]
Later = Annotated[bool, typer.Option("--later", help="Only write it down; the episode goes on by: rung agent resume.")]


def _asked(store: Store) -> list[OpenQuestion]:
    from rung.agents.loop.guard.queue import questions

    return questions(store.episodes.trail(), store.episodes.asking())


def waiting(json: Json = False, store: StoreUrl = None) -> None:
    """List what episodes wait for, oldest first: calls to approve, and questions."""
    from rung.core.codec import encode
    from rung.core.settings import Settings
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = _asked(opened)
    if json:
        typer.echo(encoder.dumps([encode(one) for one in found], ensure_ascii=False))
        return
    if not found:
        typer.echo("nothing waits for a person")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.asked))
        left = (
            ""
            if math.isinf(one.expires)
            else ", overdue"
            if one.overdue
            else f", {one.expires - time.time():.0f} s left"
        )
        typer.echo(f"{one.digest or '(question)'}  episode {one.episode}, event {one.seq}, asked {when}{left}")
        typer.echo(f"  {one.text}")
        if one.digest:
            typer.echo(f"  {one.tool} {encoder.dumps(encode(one.arguments), ensure_ascii=False)}")
            typer.echo(
                f"  → rung agent approve {one.digest[:8]} | deny {one.digest[:8]} | edit {one.digest[:8]} --set NAME=VALUE"
            )
        else:
            typer.echo(f'  → rung agent steer {one.episode} "..."')


def _decide(digest: str, word: Mapping[str, Any], later: bool, trace: bool, store: str | None) -> None:
    from rung.agents.loop.guard.queue import decide, pick_question
    from rung.cli.agent.agent import go_on
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def work() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                question = pick_question(_asked(opened), digest)
                given = dict(word)
                if "arguments" in given:
                    given["arguments"] = {**(question.arguments or {}), **given["arguments"]}
                    await _may_be_called(question, given["arguments"], opened, pool)
                given["by"] = given["by"] or _who()
                await decide(opened.episodes.trail(), question, given)
                typer.echo(f"{question.tool}: {given['do']}, by {given['by']}", err=True)
                return 0 if later else await go_on(opened, pool, settings, question.episode, trace)

    raise typer.Exit(asyncio.run(work()))


async def _may_be_called(question: OpenQuestion, arguments: Mapping[str, Any], store: Store, pool: Pool) -> None:
    """Raises InputError where the tool would refuse the arguments: a word counts once, and a slip is no word."""
    from rung.agents.loop.move import Call
    from rung.agents.program.open import reopen
    from rung.core.errors import InputError

    program, start, _ = reopen(store.episodes.read(question.episode), pool)
    try:
        agent, _ = program.agent().enter(start.scenario, start.seed)
        if wrong := agent.tools.complaint(Call(question.tool, arguments)):
            raise InputError(wrong, remedy="it still waits; write --set NAME=VALUE again", code="arguments")
    finally:
        await program.close()


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def approve(digest: Digest, by: By = "", later: Later = False, trace: Trace = False, store: StoreUrl = None) -> None:
    """Let a call be made exactly as it was shown, once, and go on with the episode."""
    _decide(digest, {"do": "approve", "by": by}, later, trace, store)


def deny(digest: Digest, why: Why = "", by: By = "", later: Later = False, store: StoreUrl = None) -> None:
    """Refuse a call, and go on with the episode without it."""
    _decide(digest, {"do": "deny", "by": by, "why": why}, later, False, store)


def edit(
    digest: Digest,
    sets: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="An argument as it is to be; may be repeated.")
    ],
    by: By = "",
    later: Later = False,
    store: StoreUrl = None,
) -> None:
    """Let a call be made with other arguments, and go on with the episode."""
    _decide(digest, {"do": "edit", "by": by, "arguments": assigned_values(sets)}, later, False, store)


def lapse(store: StoreUrl = None) -> None:
    """End the episodes whose questions nobody answered in time, each with the best output that it has."""
    from rung.cli.agent.agent import go_on
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def work() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                overdue = sorted({one.episode for one in _asked(opened) if one.overdue})
                for episode in overdue:
                    await go_on(opened, pool, settings, episode, False)
                return len(overdue)

    n = asyncio.run(work())
    typer.echo(f"{n} episodes were overdue")


def failures(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write a web page, with all events.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List episodes that ended unsolved and were not corrected, newest first, with their calls. A corrected one goes on
    from the call that was changed, and where that solves it, it is among the rows of: rung agent rows."""
    from rung.agents.trace.failures import find_failures, write_failures
    from rung.agents.trace.steps import line
    from rung.core.codec import encode
    from rung.core.settings import Settings
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = find_failures(opened.episodes, limit)
    if to is not None:
        write_failures(found, to)
        typer.echo(f"{len(found)} episodes: {to}")
    elif json:
        rows = [
            {
                "episode": one.episode,
                "title": one.title,
                "verdict": one.verdict,
                "calls": [{"seq": event.seq, **event.payload} for event in one.calls],
            }
            for one in found
        ]
        typer.echo(encoder.dumps([encode(row) for row in rows], ensure_ascii=False))
    elif not found:
        typer.echo("no episode ended unsolved")
    else:
        for one in found:
            typer.echo(f"{one.episode}  {one.why}")
            typer.echo(f"  {one.title}"[:118])
            for harm in one.verdict.get("harms", ()):
                typer.echo(f"  harm: {harm}")
            for event in one.calls:
                typer.echo(f"{event.seq:>6} {line(event)}"[:118])
            if one.mend:
                typer.echo(f"  → {one.mend}")


def add(app: typer.Typer) -> None:
    """The verbs on what waits, and on what went wrong."""
    for verb in (waiting, approve, deny, edit, lapse, failures):
        app.command(verb.__name__)(verb)
