"""``rung stress``: edge cases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.options import RungName, RunId, StoreUrl
from rung.core import program as programs
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.ladder.export import choose
from rung.ladder.history import read_examples, read_run
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.view.live import tell
from rung.metrics import load_metric
from rung.models import Pool
from rung.store import open_store
from rung.studies import stress as room


def stress(
    run: RunId = "last",
    rung: RungName = "",
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only these changes; again for more.")] = None,
    field: Annotated[str, typer.Option(help="The text field that is changed (default: the first).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many examples.")] = 100,
    store: StoreUrl = None,
) -> None:
    """Answer a run's examples again with typos, in capitals, cut, padded and empty, and print a robustness table."""
    settings = Settings({"store": store})

    async def work() -> None:
        with open_store(settings.store_url) as opened:
            record = read_run(opened, run)
            chosen = choose(record, rung)
            examples = read_examples(opened, record.task_hash)[: chosen.n][:limit]
            if not examples or not (Path(chosen.folder) / "program.json").exists():
                raise InputError(f"{chosen.title} has no program in run {record.id}", remedy="climb the task again")
            async with Pool(settings, default=record.model) as pool:
                program = programs.load(Path(chosen.folder), pool)
                metric = load_metric(record.metrics[0], pool)
                evaluator = Evaluator(opened, record.id, [metric], concurrency=settings["concurrency"])
                rows = await room.stress(
                    program,
                    examples,
                    field or next(iter(examples[0].input)),
                    evaluator,
                    metric,
                    kinds=tuple(kind or room.KINDS),
                    progress=tell,
                )
        typer.echo(f"{chosen.title}, run {record.id}, {len(examples)} examples\n{room.table(rows, metric.name)}")

    asyncio.run(work())
