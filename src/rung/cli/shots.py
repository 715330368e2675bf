"""``rung pattern few-shot``: how many demonstrations help."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from rung import tasks
from rung.cli import session
from rung.cli.options import ModelName, StoreUrl, TaskName
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.ladder.view.live import tell
from rung.models import Pool
from rung.prompts.select import Kind
from rung.store import Store
from rung.studies import shots as room


def few_shot(
    task: TaskName,
    ks: Annotated[str, typer.Option("--ks", metavar="K,K", help="Numbers of demonstrations.")] = "0,1,2,4,8",
    select: Annotated[
        str, typer.Option("--select", metavar="A,B", help="How they are chosen: random, knn, mmr, coverage.")
    ] = "random,knn",
    model: ModelName = None,
    embedder: Annotated[str, typer.Option(help="Embedder for knn and mmr; empty: TF-IDF over train.")] = "",
    exclude: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Show no near-duplicate of the input (Jaccard; 0: off).")
    ] = 0.8,
    limit: Annotated[int, typer.Option(min=1, help="At most this many examples of the split.")] = 100,
    split: Annotated[str, typer.Option(help="dev or test; test only once everything is chosen.")] = "dev",
    seed: Annotated[int, typer.Option(help="Seed of the random draw.")] = 0,
    store: StoreUrl = None,
) -> None:
    """Accuracy against the number of demonstrations, with intervals and paired differences to the smallest."""
    try:
        sizes = [int(k) for k in ks.split(",")]
    except ValueError:
        raise InputError(f"--ks {ks}: expected whole numbers", remedy="write --ks 0,1,2,4,8") from None
    known: tuple[Kind, ...] = get_args(Kind)
    named = [name.strip() for name in select.split(",") if name.strip()]
    if wrong := [name for name in named if name not in known]:
        raise InputError(f"examples are not chosen by {', '.join(wrong)}", remedy=f"ways: {', '.join(known)}")
    if split not in ("dev", "test"):
        raise InputError(f"got split {split!r}", remedy="write --split dev or --split test")
    settings = Settings({"model": model, "store": store})
    loaded = tasks.load(task, models=[model] if model else None)

    async def work(pool: Pool, _: Store) -> None:
        found = await room.curve(
            loaded,
            sizes,
            [kind for kind in known if kind in named],
            loaded.split("test" if split == "test" else "dev")[:limit],
            settings,
            pool,
            embedder=pool.embedder(embedder) if embedder else None,
            exclude=exclude,
            seed=seed,
            progress=tell,
        )
        typer.echo(room.table(found))

    session.run(settings, work, model=next(iter(loaded.models), None))
