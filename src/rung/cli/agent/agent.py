"""``rung agent``: run agents; list, pause, steer and resume their episodes."""

from __future__ import annotations

import asyncio
import json as encoder
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rung.cli.agent.options import AgentChanges
from rung.cli.agent.people import memory, queue
from rung.cli.agent.play import play
from rung.cli.agent.teams import team
from rung.cli.base.options import StoreUrl, assigned_values, expand
from rung.core.types import Usage

if TYPE_CHECKING:
    from rung.agents.loop.episode import Start
    from rung.agents.program.program import AgentProgram
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import Store, StoredEpisode

app = typer.Typer(
    help="Run agents; list, pause, steer and resume their episodes.", rich_markup_mode=None, no_args_is_help=True
)

EpisodeId = Annotated[str, typer.Argument(metavar="EPISODE", help="An episode's id, the beginning of one, or `last`.")]
Trace = Annotated[bool, typer.Option("--trace", help="Print every event: perceive, reason, act, learn.")]
STALL = 60.0
"""Seconds without an event after which a running episode is shown as stalled."""


def run(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="ENVIRONMENT:SCENARIO, ENVIRONMENT:FOLDER, an agent file, or a task."),
    ],
    changes: AgentChanges,
    request: Annotated[
        str, typer.Argument(metavar="[REQUEST]", help="What to do (default: what the environment asks).")
    ] = "",
    trace: Trace = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
    store: StoreUrl = None,
) -> None:
    """Run one episode, seen live; killed at any moment it goes on by: rung agent resume last."""
    from rung.agents.program.open import open_target
    from rung.core.parts.place import within
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def work() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                found = open_target(target, request, changes.given(), pool)
                with within(found.folder, settings.store_url):
                    id = found.program.episode(found.start, changes.conversation or str(time.time_ns()))
                    return await drive(found.program, found.start, opened, id, _Shown(trace, json))

    raise typer.Exit(asyncio.run(work()))


app.command("run")(expand(run))
app.command("play")(expand(play))
team.add(app)
queue.add(app)
app.add_typer(memory.app, name="memory")


class _Shown:
    """What is printed while an episode runs: events to stdout with ``trace``, else to stderr; the output to stdout."""

    def __init__(self, trace: bool, json: bool) -> None:
        self.trace, self.json = trace, json
        self.used = Usage()

    def event(self, event: Any) -> None:
        from rung.agents.trace.steps import row, total

        self.used = self.used + total([event])
        typer.echo(row(event, self.used), err=not self.trace)

    def end(self, view: Any, id: str, events: Any) -> None:
        from rung.agents.program.program import answer
        from rung.core.codec import encode, spell

        if self.json:
            typer.echo(encoder.dumps(encode(answer(view, id, events)), ensure_ascii=False))
        elif view.ended is not None and view.ended.get("output") is not None and not self.trace:
            typer.echo(spell(view.ended["output"]))


async def drive(program: AgentProgram, start: Start, store: Store, id: str, shown: _Shown) -> int:
    """Run or resume an episode in the store, printing its events; the exit code. Ctrl-C and SIGTERM: see
    ``stopping``."""
    from rung.agents.loop.episode import Episode
    from rung.agents.trace.steps import judged
    from rung.cli.agent.stop import stopping

    trail = store.episodes.trail()
    before = trail.read(id)
    events = list(before)

    def watch(event: Any) -> None:
        if len(events) == len(before):  # there is an episode: its scenario was found
            typer.echo(f"rung: episode {id}", err=True)
        events.append(event)
        shown.event(event)

    episode = Episode(program.agent(), id, trail, watch)

    def unknown() -> bool:
        tools = episode.agent.tools
        return any(
            call.tool in tools.tools and tools.effect(call.tool) == "once" for call in list(episode.view.open.values())
        )

    with stopping(episode, unknown, f"rung agent resume {id}"):
        try:
            view = await episode.run(start)
        finally:
            await program.close()
    shown.end(view, id, events)
    if view.ended is None:
        why = view.waiting or ("it is paused" if view.paused else "it was stopped")
        typer.echo(f"rung: not ended: {why}\n  → type: rung agent resume {id}", err=True)
        if view.held:
            typer.echo("  → decide first: rung agent waiting", err=True)
        elif view.waiting:
            typer.echo(f'  → answer first: rung agent steer {id} "..."', err=True)
        return 3
    verdict, stopped = view.ended.get("verdict"), view.ended.get("stopped")
    parts = [
        f"{view.steps} steps",
        f"{view.usage.tokens:,} tokens",
        f"${view.usage.money:.4f}",
        f"{view.seconds:.2f} s",
    ]
    parts += [f"stopped: {stopped}"] if stopped else []
    parts += [] if verdict is None else [judged(verdict)]
    typer.echo(f"rung: {', '.join(parts)}", err=True)
    return 0


@app.command("resume")
def resume(episode: EpisodeId, trace: Trace = False, store: StoreUrl = None) -> None:
    """Go on with an episode that was killed, paused or waits; what was decided is not decided again."""
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def work() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened:
                return await go_on(opened, pool, settings, episode, trace)

    raise typer.Exit(asyncio.run(work()))


async def go_on(store: Store, pool: Pool, settings: Settings, episode: str, trace: bool) -> int:
    """Resume an episode; the exit code. Raises InputError where it is running, or what made it is not there."""
    from rung.agents.program.open import reopen
    from rung.core.parts.place import within

    found = store.episodes.find(episode)
    refuse_running(found, "episode")
    if found.state == "paused":
        await steer_episode(store, found.id, "resume", "")
    if (store.episodes.read(found.id)[0].payload.get("spec") or {}).get("kind") == "workflow":
        from rung.cli.agent.teams.workflow import go_on as go_on_with

        return await go_on_with(store, pool, found.id)
    program, start, folder = reopen(store.episodes.read(found.id), pool)
    with within(folder, settings.store_url):
        return await drive(program, start, store, found.id, _Shown(trace, False))


def refuse_running(found: StoredEpisode, what: str) -> None:
    """Raises InputError where a process has the episode."""
    from rung.core.errors import InputError

    if found.state == "running":
        raise InputError(
            f"{what} {found.id} is running: process {found.process.pid} on {found.process.host} has it",
            remedy=f"pause it first: rung agent pause {found.id}",
            code="running",
        )


async def steer_episode(store: Store, id: str, do: str, text: str) -> None:
    """Put a person's word at the end of an episode, whoever drives it. Raises InputError where it has ended."""
    from rung.core.errors import InputError, StoreError
    from rung.core.types.trail import Event, Fenced

    trail = store.episodes.trail()
    for _ in range(1000):
        last = store.episodes.find(id).last
        if last is None or last.kind == "ended":
            raise InputError(
                f"episode {id} has ended", remedy="list those that have not: rung agent list", code="ended"
            )
        said = {"do": do, "by": "person", **({"text": text} if text else {})}
        try:
            await trail.append([Event(id, last.seq + 1, "steered", said, time.time())])
        except Fenced:  # it went on meanwhile
            continue
        return
    raise StoreError(f"episode {id} goes on too fast to be steered", remedy="type the same command again")


def _word(episode: str, do: Literal["pause", "say", "stop"], text: str, store: str | None) -> None:
    from rung.core.settings import Settings
    from rung.store import open_store

    async def work() -> str:
        with open_store(Settings({"store": store}).store_url) as opened:
            found = opened.episodes.find(episode)
            await steer_episode(opened, found.id, do, text)
            return found.id

    id = asyncio.run(work())
    typer.echo(f"episode {id}: {'said' if do == 'say' else do}; it is taken in at the end of the step")


@app.command("pause")
def pause(episode: EpisodeId, store: StoreUrl = None) -> None:
    """Stop an episode at the end of its step; what it has decided meanwhile is not done."""
    _word(episode, "pause", "", store)


@app.command("stop")
def stop(episode: EpisodeId, store: StoreUrl = None) -> None:
    """Let an episode end with the best output that it has."""
    _word(episode, "stop", "", store)


@app.command("steer")
def steer(
    episode: EpisodeId,
    text: Annotated[str, typer.Argument(help="What the agent is told; also the answer to what it waits for.")],
    store: StoreUrl = None,
) -> None:
    """Tell an agent something before its next decision."""
    _word(episode, "say", text, store)


@app.command("list")
def list_episodes(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second until Ctrl-C.")] = False,
    store: StoreUrl = None,
) -> None:
    """List episodes, newest first: their state, steps, and what is wrong with them (stalls, loops, limits)."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from rung.core.settings import Settings
    from rung.store import open_store

    def table(opened: Store) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("episode", "state", "steps", "last", "flag", "what"):
            made.add_column(title, no_wrap=title != "what")
        for one in opened.episodes.all(limit):
            age = max(0.0, time.time() - one.changed)
            ended = one.last.payload.get("stopped", "") if one.last is not None and one.last.kind == "ended" else ""
            flag = (
                "stalled"
                if one.state == "running" and age > STALL
                else ended
                if ended and ended != "world"
                else one.warned and "loop"
            )
            made.add_row(one.id, one.state, str(one.steps), f"{age:.0f} s ago", flag[:24], one.title[:40])
        return made

    with open_store(Settings({"store": store}).store_url) as opened:
        if not watch:
            if not opened.episodes.all(1):
                typer.echo("no episodes yet; type: rung agent run gridworld:7 --policy goal")
                return
            Console().print(table(opened))
            return
        with Live(table(opened), console=Console(), auto_refresh=False) as live:
            while True:
                time.sleep(1)
                live.update(table(opened), refresh=True)


@app.command("scenarios")
def scenarios(
    environment: Annotated[str, typer.Argument(help="An environment, by name.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the rows go (JSON Lines).")],
    counts: Annotated[str, typer.Option(metavar="TRAIN,DEV,TEST", help="How many of each split.")] = "60,20,100",
    option: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the environment; may be repeated."),
    ] = None,
) -> None:
    """Write an environment's scenarios as rows of a task."""
    from rung.agents.environments.packs.scenarios import write
    from rung.agents.program.program import make_environment
    from rung.core.errors import InputError

    parts = counts.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise InputError(f"got counts {counts!r}", remedy="write --counts 60,20,100")
    world = make_environment({"name": environment, **assigned_values(option or ())})
    n = write(world, dict(zip(("train", "dev", "test"), map(int, parts), strict=True)), to)
    typer.echo(f"{n} rows: {to}", file=sys.stdout)
