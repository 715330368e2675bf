"""``rung pattern``: use one prompt pattern from the shell, or measure what patterns add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rung.core.protocols import Program
    from rung.core.types import Answer, Interval
    from rung.models import Pool

app = typer.Typer(help="Prompt patterns, one command each.", no_args_is_help=True, rich_markup_mode=None)

Text = Annotated[str, typer.Option("-i", "--input", metavar="TEXT", help="The input; - reads standard input.")]
ModelName = Annotated[str | None, typer.Option("-m", "--model", metavar="MODEL", help="Model, as provider:name.")]
Order = Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What to do with the input.")]
Passages = Annotated[
    Path | None, typer.Option("--passages", metavar="FILE", help="Text file (a passage a paragraph) or a task file.")
]
Steps = Annotated[bool, typer.Option("--steps", help="Show every call.")]


def _run(work: Callable[[Pool], Awaitable[None]], model: str | None) -> None:
    import asyncio

    from rung.core.settings import Settings
    from rung.models import Pool

    settings = Settings({"model": model})

    async def whole() -> None:
        pool = Pool(settings, default=settings["model"])
        try:
            await work(pool)
        finally:
            await pool.close()

    asyncio.run(whole())


def _read(text: str) -> str:
    import sys

    from rung.core.errors import InputError

    text = sys.stdin.read() if text == "-" else text
    if not text.strip():
        raise InputError("the input is empty", remedy='give it: -i "..."')
    return text.strip()


def _passages(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    from rung.core.errors import InputError

    if path.suffix in (".yaml", ".yml") or not path.exists() or path.is_dir():
        from rung import tasks

        found = dict(tasks.load(str(path)).passages)
    else:
        try:
            paragraphs = [part.strip() for part in path.read_text(encoding="utf-8").split("\n\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read it: {error}", file=path, remedy="name a text file") from None
        found = {f"{path.stem}-{number}": text for number, text in enumerate(filter(None, paragraphs), 1)}
    if not found:
        raise InputError("there are no passages in it", file=path, remedy="name a text file with paragraphs")
    return found


def _show(answer: Answer, steps: bool) -> None:
    import json

    if steps:
        for step in answer.steps:
            typer.echo(f"[{step.name}] {step.reply}" + (f"  ({step.note})" if step.note else ""), err=True)
    if answer.failure is not None:
        typer.echo(f"rung: no answer ({answer.failure.where}): {answer.failure.message}", err=True)
        raise typer.Exit(1)
    typer.echo(
        answer.output if isinstance(answer.output, str) else json.dumps(answer.output, ensure_ascii=False, indent=2)
    )


def _ask(make: Callable[[Pool], Program], text: str, model: str | None, steps: bool) -> None:
    question = _read(text)

    async def work(pool: Pool) -> None:
        _show(await make(pool)(question), steps)

    _run(work, model)


def _span(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


@app.command("react")
def react(
    text: Text,
    model: ModelName = None,
    prompt: Order = "Answer the question.",
    passages: Passages = None,
    limit: Annotated[int, typer.Option(min=1, help="Steps at most.")] = 6,
    steps: Steps = False,
) -> None:
    """Thought, action, observation until the answer; tools: search over the passages, calculator."""
    from rung.prompts.prompt import Prompt
    from rung.prompts.react import ReactProgram

    found = _passages(passages)
    _ask(
        lambda pool: ReactProgram(pool.model(), passages=found, prompt=Prompt(prompt), limit=limit), text, model, steps
    )


@app.command("template")
def template(
    text: Text,
    sections: Annotated[str, typer.Option("--sections", metavar="[A][B]", help="The template of the answer.")],
    model: ModelName = None,
    prompt: Order = "",
    width: Annotated[int, typer.Option(min=1, help="Characters of a section at most.")] = 300,
    steps: Steps = False,
) -> None:
    """Answer under an output template such as [Introduction][Summary][Conclusion]; prints the sections as JSON."""
    from rung.prompts.outline import Outline, OutlineProgram
    from rung.prompts.prompt import Prompt

    outline = Outline.parse(sections, width=width)
    _ask(lambda pool: OutlineProgram(outline, pool.model(), prompt=Prompt(prompt)), text, model, steps)


@app.command("refine")
def refine(
    text: Text, model: ModelName = None, rounds: Annotated[int, typer.Option(min=1, help="Rewritings at most.")] = 1
) -> None:
    """Put a question better; prints the original where no rewriting kept its meaning."""
    from rung.prompts import refine as room

    question = _read(text)

    async def work(pool: Pool) -> None:
        found = await room.refine(pool.model(), question, rounds=rounds)
        typer.echo(found.question)
        if found.why:
            typer.echo(f"rung: a rewriting was not used: {found.why}", err=True)

    _run(work, model)


@app.command("verify")
def verify(
    text: Annotated[
        str, typer.Option("-i", "--input", metavar="TEXT", help="The text to verify; - reads standard input.")
    ] = "",
    source: Annotated[Path | None, typer.Option("--source", metavar="FILE", help="What it must agree with.")] = None,
    model: ModelName = None,
    planted: Annotated[bool, typer.Option("--planted", help="Plant false claims in the source and measure.")] = False,
) -> None:
    """Split a text into claims and hold each against a source, with the evidence; exit code 1 when one does not hold."""
    from rung.core.errors import InputError
    from rung.prompts import verify as room

    if source is None:
        raise InputError("there is no source", remedy='type: rung pattern verify -i "..." --source FILE')
    try:
        against = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the source: {error}", file=source, remedy="name a text file") from None
    claims = "" if planted else _read(text)

    async def work(pool: Pool) -> None:
        if planted:
            found = await room.detect(pool.model(), against, room.plant(against))
            typer.echo(f"{found.claims} claims, {found.false} planted false, {found.flagged} flagged")
            typer.echo(f"precision {_span(found.precision) if found.precision else 'undefined: nothing was flagged'}")
            typer.echo(
                f"recall    {_span(found.recall) if found.recall else 'undefined: nothing false could be planted'}"
            )
            return
        verdict = await room.verify(pool.model(), claims, against)
        for item in verdict.findings:
            typer.echo(f"{item.verdict}: {item.claim}\n  {item.why}")
            if item.evidence is not None:
                typer.echo(f"  [{item.evidence.start}:{item.evidence.stop}] {item.evidence.text}")
        if not verdict.holds:
            raise typer.Exit(1)

    _run(work, model)


@app.command("combine")
def combine(
    text: Text,
    task: Annotated[str, typer.Argument(help="A task file, its folder, or a built-in pack.")],
    parts: Annotated[str, typer.Option("--parts", metavar="A+B", help="persona+few-shot=3+cot, in any order.")],
    model: ModelName = None,
    steps: Steps = False,
) -> None:
    """Answer an input of a task with several patterns at once."""
    from rung import tasks
    from rung.prompts.combine import compose

    loaded = tasks.load(task)
    _ask(lambda pool: compose(loaded, parts, pool), text, model, steps)


@app.command("factorial")
def factorial(
    task: Annotated[str, typer.Argument(help="A task file, its folder, or a built-in pack.")],
    factors: Annotated[str, typer.Option("--factors", help="Patterns, with commas between: persona,few-shot=3,cot.")],
    model: ModelName = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many examples of the split.")] = 50,
    split: Annotated[str, typer.Option(help="dev or test; test only once everything is chosen.")] = "dev",
    store: Annotated[str | None, typer.Option(help="Store URL (sqlite:///FILE, postgresql://...).")] = None,
) -> None:
    """Ask all combinations of some patterns and print each one's main effect with its interval."""
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.ladder.factorial import run_factorial, table

    if split not in ("dev", "test"):
        raise InputError(f"got split {split!r}", remedy="write --split dev or --split test")
    from rung import tasks

    settings = Settings({"model": model, "store": store})
    loaded = tasks.load(task, models=[model] if model else None)
    names = [name.strip() for name in factors.split(",") if name.strip()]

    async def work(pool: Pool) -> None:
        def tell(progress: Any) -> None:
            typer.echo(f"{progress.done}/{progress.total} {progress.note}", err=True)

        examples = loaded.split("test" if split == "test" else "dev")[:limit]
        found = await run_factorial(loaded, names, examples, settings, pool, tell)
        typer.echo(table(found))

    _run(work, model or (loaded.models[0] if loaded.models else None))
