"""Workers and letters: ``rung agent work``, ``send``, ``broadcast``, ``subscribe``, ``mail``; ``chat``, ``export``,
``rows``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.agent.options import AgentChanges
from rung.cli.base.options import StoreUrl, expand

if TYPE_CHECKING:
    from rung.core.protocols import Conversing

Agent = Annotated[
    str, typer.Argument(metavar="AGENT", help="An agent file, or a folder that a program was exported to.")
]
Box = Annotated[str, typer.Argument(metavar="BOX", help="A mailbox, by its name.")]
Text = Annotated[str, typer.Argument(help="What the letter says.")]
Topic = Annotated[str, typer.Argument(help="The topic.")]
Sender = Annotated[str, typer.Option("--from", metavar="NAME", help="Who sends it.")]
Key = Annotated[
    str, typer.Option(metavar="KEY", help="A name of one's own for the letter: a second with it is not delivered.")
]


def work(
    box: Box,
    target: Agent,
    changes: AgentChanges,
    most: Annotated[int | None, typer.Option(min=1, help="End after so many letters.")] = None,
    idle: Annotated[float | None, typer.Option(min=0.0, help="End when none has come for so many seconds.")] = None,
    store: StoreUrl = None,
) -> None:
    """Answer letters to a box with an agent. Several workers may share a box; the letter of one that is killed is taken
    by another."""
    from rung.agents.program.open import open_program
    from rung.agents.program.worker import work as do
    from rung.core.codec import spell
    from rung.core.parts.place import within
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    def told(letter: Any, answer: Any) -> None:
        failed = answer is not None and answer.failure is not None
        said = letter.text if answer is None else answer.failure.message if failed else spell(answer.output)
        typer.echo(f"{letter.key} {'<' if answer is None else '>'} {' '.join(said.split())[:100]}", err=True)

    async def run() -> int:
        async with Pool(settings) as pool:
            program, folder = open_program(target, changes.given(), pool)
            with open_store(settings.store_url) as opened, within(folder, settings.store_url):
                typer.echo(f"rung: at work for {box}; Ctrl-C ends it", err=True)
                return await do(program, box, opened.episodes.trail(), most=most, idle=idle, told=told)

    typer.echo(f"{asyncio.run(run())} letters answered")


def send(to: Box, text: Text, sender: Sender = "person", key: Key = "", store: StoreUrl = None) -> None:
    """Put a letter into the box of an agent."""
    new = _mail(store, lambda mail: mail.send(to, sender, key or _fresh(), text))
    typer.echo(f"sent to {to}" if new else f"not sent: {to} has had a letter with the key {key!r}")


def broadcast(topic: Topic, text: Text, sender: Sender = "person", key: Key = "", store: StoreUrl = None) -> None:
    """Send a letter to everybody who has subscribed to a topic."""
    count = _mail(store, lambda mail: mail.publish(topic, sender, key or _fresh(), text))
    typer.echo(f"sent to {count} boxes")


def subscribe(
    topic: Topic,
    box: Box,
    late: Annotated[str, typer.Option(help="What of before the box gets: none, last or all.")] = "none",
    store: StoreUrl = None,
) -> None:
    """Put what is broadcast from now on on a topic into a box."""
    from typing import get_args

    from rung.core.errors import InputError
    from rung.core.types.mail import Late

    if late not in get_args(Late):
        raise InputError(f"got --late {late!r}", remedy="one of none, last, all")
    count = _mail(store, lambda mail: mail.subscribe(topic, box, late))
    typer.echo(f"{box} gets what is broadcast on {topic}; {count} earlier letters were put into it")


def mail(
    box: Annotated[str, typer.Argument(metavar="[BOX]", help="A mailbox; without it, all boxes are listed.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many letters, newest first.")] = 20,
    store: StoreUrl = None,
) -> None:
    """List mailboxes, or the letters in one: what was read, and who works on what."""
    from rung.core.text.columns import align

    if not box:
        rows = _mail(store, lambda mail: mail.boxes())
        lines = [["box", "letters", "unread"], *([name, str(count), str(left)] for name, count, left in rows)]
        typer.echo(align(lines) if rows else 'no letters yet; type: rung agent send BOX "text"')
        return
    for letter, read, held in _mail(store, lambda mail: mail.all(box, limit)):
        state = "read" if read else f"held by process {held.pid} on {held.host}" if held is not None else "unread"
        about = f" ({letter.topic})" if letter.topic else ""
        typer.echo(f"{letter.id:>5} {letter.sender}{about}: {' '.join(letter.text.split())[:80]} [{state}]")


def chat(target: Agent, changes: AgentChanges, store: StoreUrl = None) -> None:
    """Talk with an agent, a line at a time; the whole conversation is one episode. An empty line or the end of the
    input ends it."""
    from rung.agents.program.open import open_program
    from rung.core.errors import InputError
    from rung.core.parts.place import within
    from rung.core.protocols import Conversing
    from rung.core.settings import Settings
    from rung.core.types.trail import recording
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})

    async def run() -> int:
        async with Pool(settings) as pool:
            program, folder = open_program(target, changes.given(), pool)
            if not isinstance(program, Conversing) or not program.converses:
                raise InputError(f"{target} does not converse", remedy=f"ask it once: rung run {target} -i ...")
            with (
                open_store(settings.store_url) as opened,
                within(folder, settings.store_url),
                recording(opened.episodes.trail()),
            ):
                return await _talk(program)

    raise typer.Exit(asyncio.run(run()))


async def _talk(program: Conversing) -> int:
    import sys

    from rung.core.codec import spell
    from rung.core.types import Message

    said: list[Message] = []
    while text := (await asyncio.to_thread(_line, sys.stdin.isatty())).strip():
        said.append(Message("user", text))
        answer = await program.converse(said)
        if len(said) == 1:
            typer.echo(f"rung: episode {answer.episode}", err=True)
        if answer.failure is not None:
            typer.echo(f"rung: {answer.failure.message}", err=True)
            return 3 if answer.failure.where == "waiting" else 1
        said.append(Message("assistant", spell(answer.output)))
        typer.echo(said[-1].content)
    return 0


def _line(asked: bool) -> str:
    import sys

    if asked:
        typer.echo("> ", nl=False)
    return sys.stdin.readline()


def export(
    target: Agent,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the program goes.")],
    changes: AgentChanges,
) -> None:
    """Write an agent and all that it needs to a folder: rung agent run DIR, rung serve DIR."""
    from rung.agents.program.open import open_program
    from rung.agents.program.program import AgentProgram
    from rung.core.parts import program as programs
    from rung.core.parts.place import within
    from rung.models import Pool

    async def run() -> None:
        async with Pool() as pool:
            program, place = open_program(target, changes.given(), pool)
            fields = list(program.fields) if isinstance(program, AgentProgram) else ["text"]
            with within(place):
                programs.save(program, folder, notes={"fields": fields})

    asyncio.run(run())
    typer.echo(f'agent: {folder}\n  → run it: rung agent run {folder} "what to do"\n  → serve it: rung serve {folder}')


Student = Annotated[
    Path | None,
    typer.Option(
        "--for", metavar="FILE", help="The agent file of the model that learns: rows are as it would be asked."
    ),
]


def rows(
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where the rows go (.jsonl), to be tuned on.")],
    way: Annotated[str, typer.Option(help="How the model that learns will call: staged, turns or native.")] = "",
    student: Student = None,
    every: Annotated[bool, typer.Option("--every", help="Also of episodes that were not solved.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many episodes, the newest first.")] = 1000,
    store: StoreUrl = None,
) -> None:
    """Make training rows of the decisions in solved episodes: rung tune learns from them, and the tuned model runs in
    the same loop."""
    import json

    from rung.agents.program.file import read_agent
    from rung.agents.program.open import reopen
    from rung.agents.trace import rows as training
    from rung.core.errors import InputError
    from rung.core.parts.place import within
    from rung.core.settings import Settings
    from rung.core.system.files import write_file
    from rung.models import Pool
    from rung.store import open_store

    if way and way not in training.WAYS:
        raise InputError(f"got --way {way!r}", remedy=f"write --way {', --way '.join(training.WAYS)}")
    settings = Settings({"store": store})

    async def run() -> tuple[list[str], int, int]:
        lines: dict[str, str] = {}
        used = left = 0
        async with Pool(settings) as pool:
            given = read_agent(student, pool).policy if student is not None else None
            with open_store(settings.store_url) as opened:
                for one in opened.episodes.all(limit):
                    events = opened.episodes.read(one.id)
                    kind = (events[0].payload.get("spec") or {}).get("kind") if events else ""
                    if kind != "agent" or not (every or training.solved(events)):
                        left += 1
                        continue
                    program, _, folder = reopen(events, pool)
                    with within(folder, settings.store_url):
                        learner = training.Student.of(given or program.policy, training.WAYS.get(way))
                        made = training.rows(program.agent(), events, learner)
                    used += 1
                    for row in made:  # equal decisions in equal places are one row
                        lines.setdefault(
                            json.dumps(row["messages"], sort_keys=True), json.dumps(row, ensure_ascii=False)
                        )
        return list(lines.values()), used, left

    lines, used, left = asyncio.run(run())
    if not lines:
        raise InputError(
            f"there is nothing to learn: of {used + left} episodes none was solved by calls",
            remedy="run some (rung agent run), or take all of them: --every",
            code="no-rows",
        )
    write_file(to, "".join(f"{line}\n" for line in lines).encode())
    typer.echo(f"{to}: {len(lines):,} rows of {used:,} episodes; {left:,} episodes were left out")


def _mail(store: str | None, do: Any) -> Any:
    from rung.core.settings import Settings
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        return do(opened.episodes.mail)


def _fresh() -> str:
    import time

    return f"person-{time.time_ns()}"


def add(app: typer.Typer) -> None:
    """Put the verbs into ``rung agent``."""
    app.command("work")(expand(work))
    app.command("export")(expand(export))
    app.command("chat")(expand(chat))
    for verb in (send, broadcast, subscribe, mail, rows):
        app.command(verb.__name__)(verb)
