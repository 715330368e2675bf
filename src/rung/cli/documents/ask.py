"""``rung ask``: an answer from a collection, with citations that lead to the exact characters."""

from __future__ import annotations

import asyncio
import json as encoder
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import Json, ModelName
from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.parts.program import save
from rung.core.settings import Settings
from rung.models import Pool
from rung.retrieval.answer.options import AskOptions
from rung.retrieval.answer.rag import Grounded, answerer, stages
from rung.retrieval.collection.shared import NamedCollection


@dataclass(frozen=True)
class Output:
    """What comes of an answer besides the text."""

    show: bool = option(False, "Also print what was sent and how long each stage took.", flags=("--show",))
    export: Path | None = option(
        None, "Save what answers as a program folder, for rung run and rung serve.", metavar="DIR"
    )


def ask(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection (rung index list).")],
    options: AskOptions,
    output: Output,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask it; - reads standard input.")] = "",
    model: ModelName = None,
    json: Json = False,
) -> None:
    """Answer a question from a collection. Each citation is the characters of a document; what the passages do not
    hold is refused (exit code 3). With --export the question may be left out."""
    settings = Settings()
    text = sys.stdin.read().strip() if question == "-" else question.strip()
    if not text and output.export is None:
        raise InputError("the question is empty", remedy=f'type: rung ask {name} "..."')
    search, reading = options.search(), options.reading()
    collection = NamedCollection(name, settings.home)

    async def work() -> Grounded | None:
        async with Pool(settings, default=model) as pool:
            program = answerer(pool.model(), collection, search, reading)
            if output.export is not None:
                save(program, output.export, notes={"fields": list(program.inner.options.fields)})
                typer.echo(f'Use it: rung run {output.export} -i "..."    rung serve {output.export}', err=True)
            return await program.ground(text) if text else None

    grounded = asyncio.run(work())
    if grounded is None:
        return
    with collection.use() as opened:
        for citation in grounded.citations:
            document = opened.document(citation.document)
            if document is None or not citation.holds(document.text):
                raise InputError(
                    f"the collection changed while it was asked: {citation.document} is not what was cited",
                    remedy="ask again",
                )
    _print(grounded, output.show, json)


def _print(grounded: Grounded, show: bool, whole: bool) -> None:
    if whole:
        typer.echo(encoder.dumps(encode(grounded), indent=2, ensure_ascii=False))
    else:
        if show:
            for step in grounded.answer.steps:
                for message in step.messages:
                    typer.echo(f"--- {step.name}: {message.role}\n{message.content}")
                if step.name not in ("retrieve", "cite"):
                    typer.echo(f"--- {step.name}: reply{f' ({step.note})' if step.note else ''}\n{step.reply}\n")
        failure = grounded.answer.failure
        if failure is not None:
            typer.echo(f"rung: no answer ({failure.where}): {failure.message}", err=True)
        else:
            typer.echo(grounded.text)
        about = {hit.passage.id: hit.passage.metadata for hit in grounded.hits}
        for citation in grounded.citations:
            quote = " ".join(citation.quote.split())
            page = about.get(citation.passage, {}).get("page")
            place = f"{citation.document}:{citation.start}-{citation.end}{f', page {page}' if page else ''}"
            typer.echo(f"[{citation.mark}] {place}  “{quote}”")
        if show:
            taken = ", ".join(f"{name} {value:.1f} ms" for name, value in stages(grounded.answer).items())
            typer.echo(f"[{taken}; answerable {grounded.probability:.2f}]", err=True)
    if grounded.answer.failure is not None:
        raise typer.Exit(1)
    if grounded.refused:
        raise typer.Exit(3)
