"""``rung eval``: prompts with references, answered by models as they are and measured."""

from __future__ import annotations

import asyncio
import json as codec
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.options import StoreUrl
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.studies import cases as room


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="CASES", help="Rows with prompt and reference: JSONL, CSV, Parquet.")],
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", metavar="MODEL", help="provider:name; given again, compared with the first."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Any metric of a task file. [rouge-l, exact, semantic]")
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 256,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many cases, the first ones.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a case.")] = False,
    store: StoreUrl = None,
) -> None:
    """Answer each case's prompt as it is and score the answers; several models are compared case by case."""
    settings = Settings({"store": store})
    names = {name: name for name in metric} if metric else dict(room.METRICS)
    models = model or [settings["model"]]
    if json and len(models) > 1:
        raise InputError(f"got {len(models)} models and --json", remedy="ask for one model at a time")
    given = room.read(file)[:limit]
    found = [
        asyncio.run(room.evaluate(name, given, settings, metrics=tuple(names.values()), max_tokens=max_tokens))
        for name in models
    ]
    if json:
        for row in room.shape(found[0][1], names):
            typer.echo(codec.dumps(row, ensure_ascii=False))
    else:
        typer.echo(room.table(models, found[0][0], [results for _, results in found]))
