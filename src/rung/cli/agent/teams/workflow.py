"""``rung workflow``: run, resume, draw and export workflows."""

from __future__ import annotations

import asyncio
import json as encoder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.base.options import Json, StoreUrl, assigned

if TYPE_CHECKING:
    from rung.core.types import Answer
    from rung.store import Store
    from rung.workflow.program import WorkflowProgram

app = typer.Typer(
    help="Run workflows of agents, programs and tools; resume, draw and export them.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A workflow file, or a folder that one was exported to.")]


@app.command("run")
def run(
    file: File,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "-i", "--input", metavar="NAME=TEXT", help="An input; a single one may be given without its name."
        ),
    ] = None,
    conversation: Annotated[
        str, typer.Option(metavar="NAME", help="A name of one's own: the same name goes on with the same run.")
    ] = "",
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Run a workflow, step by step; killed at any moment it goes on by: rung workflow resume last."""
    import time

    async def work(opened: Store, pool: Any) -> int:
        program = open_workflow(file, pool)
        given = inputs or []
        alone = len(given) == 1 and "=" not in given[0]
        values = program.inputs(given[0] if alone else assigned(given, "-i"))
        id = program.run_id(values, 0, conversation or str(time.time_ns()))
        return await _drive(program, values, id, opened, json)

    raise typer.Exit(_within(store, file, work))


def _within(store: str | None, file: Path | None, work: Any) -> int:
    from rung.core.parts.place import within
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.store import open_store

    settings = Settings({"store": store})
    folder = None if file is None else file if file.is_dir() else file.parent

    async def all() -> int:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened, within(folder, settings.store_url):
                done: int = await work(opened, pool)
                return done

    return asyncio.run(all())


def open_workflow(file: Path, pool: Any) -> WorkflowProgram:
    """The workflow of a file, or of a folder that it was exported to. Raises InputError."""
    from rung.core.errors import InputError
    from rung.core.parts import program as programs
    from rung.workflow.program import WorkflowProgram, read_workflow

    if not file.is_dir():
        return read_workflow(file, pool)
    found = programs.load(file, pool)
    if not isinstance(found, WorkflowProgram):
        raise InputError(
            f"{file} holds no workflow but a program of kind {found.kind}", remedy=f"type: rung run {file}"
        )
    return found


async def _drive(program: WorkflowProgram, values: Any, id: str, store: Store, json: bool) -> int:
    from rung.agents.trace.steps import row
    from rung.cli.agent.stop import stopping
    from rung.core.codec import encode, spell
    from rung.core.types import Usage
    from rung.workflow.log import FlowLog

    used = Usage()

    def watch(event: Any) -> None:
        nonlocal used
        used = used + Usage(**event.payload.get("usage", {}))
        typer.echo(row(event, used), err=True)

    typer.echo(f"rung: run {id}", err=True)
    log = FlowLog(id, store.episodes.trail(), watch)
    with stopping(log, lambda: "once" in log.open.values(), f"rung workflow resume {id}"):
        try:
            answer: Answer = await program.run(values, log)
        finally:
            await program.close()
    if json:
        typer.echo(encoder.dumps(encode(answer), ensure_ascii=False))
    elif answer.failure is None:
        typer.echo(spell(answer.output))
    if answer.failure is not None:
        typer.echo(
            f"rung: {'not ended' if answer.failure.where == 'waiting' else 'failed'}: {answer.failure.message}",
            err=True,
        )
        return 3 if answer.failure.where == "waiting" else 1
    typer.echo(f"rung: {answer.usage.tokens:,} tokens, ${answer.usage.money:.4f}", err=True)
    return 0


@app.command("resume")
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `last`.")],
    store: StoreUrl = None,
) -> None:
    """Go on with a run that was killed or paused; no step that was made is made again."""

    async def work(opened: Store, pool: Any) -> int:
        return await go_on(opened, pool, opened.episodes.find(run).id)

    raise typer.Exit(_within(store, None, work))


async def go_on(store: Store, pool: Any, id: str) -> int:
    """Resume a run in the store. Raises InputError where it is none of a workflow, or runs."""
    from rung.cli.agent.agent import refuse_running
    from rung.core.errors import InputError
    from rung.core.parts.place import here, within
    from rung.workflow.program import WorkflowProgram

    found = store.episodes.find(id)
    refuse_running(found, "run")
    begun = store.episodes.read(found.id)[0].payload
    spec = begun.get("spec") or {}
    if spec.get("kind") != WorkflowProgram.kind:
        raise InputError(
            f"episode {found.id} is an agent's", remedy=f"type: rung agent resume {found.id}", code="no-workflow"
        )
    folder = Path(begun["folder"]) if "folder" in begun else Path()
    with within(folder, here().store):
        program = WorkflowProgram.load(spec["spec"], folder, pool)
        return await _drive(program, begun["inputs"], found.id, store, False)


@app.command("show")
def show(
    file: File,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write a picture (.svg), or Mermaid text.")
    ] = None,
) -> None:
    """Draw a workflow as a graph: Mermaid text, or SVG with --to FILE.svg."""
    from rung.core.system.files import write_file
    from rung.models import Pool
    from rung.workflow.graph import mermaid, svg

    async def work() -> str:
        async with Pool() as pool:
            flow = open_workflow(file, pool).flow
            return svg(flow) if to is not None and to.suffix == ".svg" else mermaid(flow)

    drawn = asyncio.run(work())
    if to is None:
        typer.echo(drawn, nl=False)
        return
    write_file(to, drawn.encode())
    typer.echo(f"graph: {to}")


@app.command("export")
def export(file: File, folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the program goes.")]) -> None:
    """Write a workflow and all that it needs to a folder, to be served: rung serve DIR."""
    from rung.core.parts import program as programs
    from rung.models import Pool

    async def work() -> None:
        async with Pool() as pool:
            program = open_workflow(file, pool)
            programs.save(program, folder, notes={"fields": list(program.needed or program.flow.inputs)})

    asyncio.run(work())
    typer.echo(f"workflow: {folder}\n  → serve it: rung serve {folder}")
