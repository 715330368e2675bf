"""``rung sweep``: how random the answers are, by temperature and nucleus."""

from __future__ import annotations

from typing import Annotated

import typer

from rung import tasks
from rung.cli import session
from rung.cli.options import ModelName, StoreUrl, TaskName
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.ladder.view.live import tell
from rung.models import Pool
from rung.prompts.patterns.combine import compose
from rung.prompts.program import PromptProgram
from rung.store import Store
from rung.studies import sweep as room


def sweep(
    task: TaskName,
    grid: Annotated[list[str], typer.Argument(metavar="KEY=A,B...", help="temperature=0.1,0.8 top_p=0.9,1 top_k=0,40")],
    repeat: Annotated[int, typer.Option(min=2, help="Answers to each example at each setting.")] = 5,
    parts: Annotated[
        str, typer.Option("--parts", metavar="A+B", help="Patterns of the prompt: persona+few-shot.")
    ] = "none",
    model: ModelName = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many examples of dev.")] = 20,
    store: StoreUrl = None,
) -> None:
    """Ask the same at several settings and print accuracy, agreement, diversity, pass@k and pass^k."""
    values = room.read_grid(grid)
    settings = Settings({"model": model, "store": store})
    loaded = tasks.load(task, models=[model] if model else None)

    async def work(pool: Pool, _: Store) -> None:
        program = compose(loaded, parts, pool)
        if not isinstance(program, PromptProgram):
            raise InputError(
                f"{parts} is more than one prompt", remedy="sweep parts of one prompt, such as persona+cot"
            )
        found = await room.sweep(
            loaded, program, values, loaded.dev[:limit], settings, pool, repeats=repeat, progress=tell
        )
        typer.echo(room.table(found))

    session.run(settings, work, model=next(iter(loaded.models), None))
