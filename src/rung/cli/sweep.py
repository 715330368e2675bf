"""``rung sweep``: how random the answers are, by temperature and nucleus."""

from __future__ import annotations

from typing import Annotated

import typer


def sweep(
    task: Annotated[str, typer.Argument(help="A task file (task.yaml), its folder, or a built-in pack.")],
    grid: Annotated[list[str], typer.Argument(metavar="KEY=A,B...", help="temperature=0.1,0.8 top_p=0.9,1 top_k=0,40")],
    repeat: Annotated[int, typer.Option(min=2, help="Answers to each example at each setting.")] = 5,
    parts: Annotated[
        str, typer.Option("--parts", metavar="A+B", help="Patterns of the prompt: persona+few-shot.")
    ] = "none",
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help="Model, as provider:name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many examples of dev.")] = 20,
    store: Annotated[str | None, typer.Option(help="Store URL (sqlite:///FILE, postgresql://...).")] = None,
) -> None:
    """Ask the same at several settings and print accuracy, agreement, diversity, pass@k and pass^k."""
    import asyncio

    from rung import tasks
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.ladder.view.live import tell
    from rung.models import Pool
    from rung.prompts.patterns.combine import compose
    from rung.prompts.program import PromptProgram
    from rung.studies import sweep as room

    values = room.read_grid(grid)
    settings = Settings({"model": model, "store": store})
    loaded = tasks.load(task, models=[model] if model else None)

    async def work() -> None:
        async with Pool(settings, default=loaded.models[0] if loaded.models else settings["model"]) as pool:
            program = compose(loaded, parts, pool)
            if not isinstance(program, PromptProgram):
                raise InputError(
                    f"{parts} is more than one prompt", remedy="sweep parts of one prompt, such as persona+cot"
                )
            found = await room.sweep(
                loaded, program, values, loaded.dev[:limit], settings, pool, repeats=repeat, progress=tell
            )
            typer.echo(room.table(found))

    asyncio.run(work())
