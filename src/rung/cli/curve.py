"""``rung curve``: what more training examples would buy."""

from __future__ import annotations

from typing import Annotated

import typer


def curve(
    task: Annotated[str, typer.Argument(help="A task file (task.yaml), its folder, or a built-in pack.")],
    rung: Annotated[str, typer.Argument(help="A rung that learns from examples, such as linear or lora-f16.")],
    sizes: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of training examples (default: doublings).")
    ] = "",
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help="Model, as provider:name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many test examples.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the order in which examples are taken.")] = 0,
    store: Annotated[str | None, typer.Option(help="Store URL (sqlite:///FILE, postgresql://...).")] = None,
) -> None:
    """Fit a rung on growing parts of train, and say what labelling as many examples again is expected to gain."""
    import asyncio
    from functools import partial

    from rung import tasks
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import RungChoice
    from rung.ladder.view.live import tell
    from rung.models import Pool
    from rung.studies import learning

    settings = Settings({"model": model, "store": store})
    loaded = tasks.load(task, models=[model] if model else None)
    if sizes:
        try:
            wanted = [int(item) for item in sizes.split(",")]
        except ValueError:
            raise InputError(f"got --sizes {sizes}", remedy="write --sizes 25,50,100") from None
    else:
        wanted, n = [], len(loaded.train)
        while n >= 20 and len(wanted) < 5:
            wanted.append(n)
            n //= 2
    choice = next((c for c in loaded.rungs if c.title == rung), RungChoice(rung))

    async def work() -> None:
        async with Pool(settings, default=loaded.models[0] if loaded.models else settings["model"]) as pool:
            found = await learning.learn(
                loaded,
                choice,
                wanted,
                loaded.test[:limit],
                settings,
                pool,
                seed=seed,
                progress=partial(tell, only="learning curve"),
            )
            typer.echo(learning.table(found))

    asyncio.run(work())
