"""Options of several of the verbs, their inputs, and what they print."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from rung import tasks
from rung.core.errors import InputError
from rung.core.protocols import Program
from rung.core.settings import Settings
from rung.core.types import Answer
from rung.models import Pool

Text = Annotated[str, typer.Option("-i", "--input", metavar="TEXT", help="The input; - reads standard input.")]
Order = Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What to do with the input.")]
Steps = Annotated[bool, typer.Option("--steps", help="Show every call.")]
Rubric = Annotated[str, typer.Option(help="A rubric's name, or criteria: 'clarity: Is it clear?; ...'")]


def work_with(model: str | None, work: Callable[[Pool], Awaitable[None]]) -> None:
    """Wait for work that asks models; ``model``: the one by default."""
    settings = Settings({"model": model})

    async def whole() -> None:
        async with Pool(settings, default=settings["model"]) as pool:
            await work(pool)

    asyncio.run(whole())


def ask(make: Callable[[Pool], Program], text: str, model: str | None, steps: bool) -> None:
    """Print a program's answer to a text."""
    question = read_text(text)

    async def work(pool: Pool) -> None:
        show(await make(pool)(question), steps)

    work_with(model, work)


def read_text(text: str) -> str:
    """The input, from standard input for ``-``. Raises InputError for an empty one."""
    text = sys.stdin.read() if text == "-" else text
    if not text.strip():
        raise InputError("the input is empty", remedy='give it: -i "..."')
    return text.strip()


def read_file(path: Path) -> str:
    """A text file. Raises InputError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it: {error}", file=path, remedy="name a text file") from None


def read_passages(path: Path | None) -> dict[str, str]:
    """The passages of a task (file, folder or pack), or the paragraphs of a text file."""
    if path is None:
        return {}
    if path.suffix in (".yaml", ".yml") or not path.exists() or path.is_dir():
        found = dict(tasks.load(str(path)).passages)
    else:
        paragraphs = [part.strip() for part in read_file(path).split("\n\n")]
        found = {f"{path.stem}-{number}": text for number, text in enumerate(filter(None, paragraphs), 1)}
    if not found:
        raise InputError("there are no passages in it", file=path, remedy="name a text file with paragraphs")
    return found


def show(answer: Answer, steps: bool = False) -> None:
    """Print an answer; exit code 1 where there is none."""
    for step in answer.steps if steps else ():
        typer.echo(f"[{step.name}] {step.reply}" + (f"  ({step.note})" if step.note else ""), err=True)
    if answer.failure is not None:
        typer.echo(f"rung: no answer ({answer.failure.where}): {answer.failure.message}", err=True)
        raise typer.Exit(1)
    plain = isinstance(answer.output, str)
    typer.echo(answer.output if plain else json.dumps(answer.output, ensure_ascii=False, indent=2))
