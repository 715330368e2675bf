"""``rung bench``: measure a part on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rung.cli.base.options import Json, ModelName, StoreUrl, expand
from rung.core.parts.option import option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(help="Measure a part on this machine.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure a part on this machine."""


@dataclass(frozen=True)
class IndexBench:
    """What indexes are measured on."""

    data: str = option("random", "random (clustered vectors), a .npy or .fvecs file, or a collection's name.")
    backends: str = option("", "Index backends, separated by commas; empty: every local one that is installed.")
    rows: int = option(20_000, "How many vectors at most.", low=100)
    queries: int = option(200, "How many of them are held out as queries.", low=1)
    dimensions: int = option(256, "Length of random vectors.", low=2)
    k: int = option(10, "Neighbours a query.", low=1)
    seconds: float = option(0.5, "How long each speed is measured.", low=0.01)
    seed: int = option(0, "Of random vectors and of the choice of queries.")
    to: Path = option(Path("bench-index.svg"), "Where the picture goes (SVG).")


@app.command("index")
@expand
def index(how: IndexBench) -> None:
    """Draw recall@k against queries a second for each backend and setting."""
    import numpy as np

    from rung.core.errors import InputError
    from rung.core.system.machine import cores
    from rung.core.text.columns import align
    from rung.retrieval.measure.curve import draw, installed, make_clusters, measure, read_vectors, table

    if how.data == "random":
        vectors = make_clusters(how.rows + how.queries, how.dimensions, how.seed)
    elif how.data.endswith((".npy", ".fvecs")):
        vectors = read_vectors(Path(how.data))
    else:
        vectors = _collection(how.data)
    if len(vectors) < how.queries + how.k:
        raise InputError(
            f"{how.data} holds {len(vectors)} vectors, too few for {how.queries} queries",
            remedy="give a smaller --queries",
        )
    chosen = np.random.default_rng(how.seed).permutation(len(vectors))[: how.rows + how.queries]
    asked, kept = vectors[chosen[: how.queries]], vectors[chosen[how.queries :]]
    named = [name.strip() for name in how.backends.split(",") if name.strip()]
    typer.echo(f"{len(kept):,} vectors of {kept.shape[1]} numbers, {how.queries} queries, {cores()} cores", err=True)
    points = []
    tried = named or installed()
    for point in measure(tried, kept, asked, k=how.k, seconds=how.seconds, skip_missing=not named):
        points.append(point)
        typer.echo(f"  {point.backend} {point.setting}: recall {point.recall:.3f}", err=True)
    typer.echo(align(table(points, how.k), right=2))
    title = f"{len(kept):,} x {kept.shape[1]}, {Path(how.data).name}, {cores()} cores"
    try:
        how.to.write_text(draw(points, how.k, title), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the picture: {error.strerror}", file=how.to, remedy="give another --to"
        ) from None
    typer.echo(f"picture: {how.to}")


@dataclass(frozen=True)
class AgentBench:
    """What of agents is measured."""

    classes: bool = option(
        False, "The classes of agents against each other, in pairs; so without any of these.", flags=("--classes",)
    )
    seeds: int = option(200, "With --classes: scenarios of each environment.", low=10)
    episodes: int = option(1000, "With --classes: episodes that the learner practises.", low=8)
    calls: str = option(
        "", "Exact calls and the choice among tools, of bfcl:FOLDER or api-bank:FOLDER.", metavar="SOURCE"
    )
    oracle: str = option("", "What right calls, nothing and random calls score in one.", metavar="ENVIRONMENT")
    repeats: int = option(1, "With --oracle: times that each scenario is played.", low=1)
    agents: str = option(
        "", "With --oracle: more policies or agent files, by commas: model_based,a.yaml.", metavar="NAMES"
    )
    guard: str = option("", "With --oracle: a guard for all of them, a YAML file.", metavar="FILE")
    baselines: bool = option(
        True,
        "With --oracle: also random calls and tools chosen by words.",
        flags=("--baselines/--no-baselines",),
    )
    window: str = option("", "What shortening a long conversation keeps of it.", metavar="qmsum:FOLDER")
    teams: str = option(
        "", "Votes, debate, a critic and faulty members against one, on a task of labels.", metavar="TASK"
    )
    members: int = option(5, "With --teams: how many members.", low=3, high=25)
    shots: int = option(2, "With --teams: training examples in each member's prompt.", low=0)
    limit: int = option(
        100, "With --calls, --oracle, --teams and --window: at most this many items of each part.", low=2
    )
    skip: int = option(0, "With --calls: leave out so many items at the beginning of each part.", low=0)
    native: bool = option(
        True, "With --calls: also let the model call in its own way.", flags=("--native/--no-native",)
    )
    parts: str = option("call,choice,whole,none,words", "With --calls: what is measured, by commas.", metavar="NAMES")
    against: str = option("", "With --calls: another model, compared with the first in pairs.", metavar="MODEL")
    unseen: bool = option(
        False, "With --calls: no items that agents are trained on in the environment bfcl.", flags=("--unseen",)
    )


@app.command("agents")
@expand
def agents(how: AgentBench, model: ModelName = None, json: Json = False, store: StoreUrl = None) -> None:
    """Play the classes of agents where each should be better, or measure calls of tools, or an environment's baselines.

    What a model answered is kept: a run that was stopped goes on.
    """
    from rung.cli.task.study import load, make, on_task
    from rung.core.settings import Settings
    from rung.studies.agents.calls import Calls
    from rung.studies.agents.oracle import Oracle
    from rung.studies.agents.teams import Teams
    from rung.studies.agents.window import Windows

    settings = Settings({"model": model, "store": store})
    if how.calls:
        study = Calls(
            how.calls, how.limit, how.skip, native=how.native, parts=how.parts, against=how.against, unseen=how.unseen
        )
        make(study, lambda _: (None, None), settings, json)
    if how.oracle:
        baselines = Oracle(
            how.oracle, how.limit, repeats=how.repeats, agents=how.agents, guard=how.guard, baselines=how.baselines
        )
        make(baselines, lambda _: (None, None), settings, json)
    if how.window:
        make(Windows(how.window, limit=how.limit), lambda _: (None, None), settings, json)
    if how.teams:
        made = Teams(how.members, how.shots, limit=how.limit)
        make(made, on_task(load(how.teams, model)), settings, json)
    if how.classes or not (how.calls or how.oracle or how.window or how.teams):
        _classes(how.seeds, how.episodes)


def _classes(seeds: int, episodes: int) -> None:
    """Reflex, model-based, goal, utility and learning agents against each other: differences, intervals, p."""
    import asyncio

    from rung.agents.program.classes import learned, matches
    from rung.core.text.columns import align
    from rung.models import Pool

    async def work() -> None:
        pool = Pool()
        found = await matches(seeds, pool)
        curve, more = await learned(seeds, episodes, pool)
        rows = [
            [d.environment, d.what, d.better, f"{d.value:.3f}", d.other, f"{d.against:.3f}",
             f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}]", f"{d.p:.2g}", str(d.n)]
            for d in [*found, *more]
        ]  # fmt: skip
        titles = ["environment", "measure", "better", "mean", "other", "mean", "difference [95%]", "p", "n"]
        typer.echo(align([titles, *rows]))
        typer.echo("\nlearning: mean reward after episodes")
        typer.echo("\n".join(f"{c.episodes:>6}  {c.value:6.2f} [{c.low:.2f}, {c.high:.2f}]" for c in curve))

    asyncio.run(work())


def _collection(name: str) -> NDArray[np.float32]:
    """The vectors of a collection."""
    import numpy as np

    from rung.core.settings import Settings
    from rung.retrieval.collection.database.database import Database
    from rung.retrieval.collection.folders import find

    database = Database(find(name, Settings().home) / "collection.db")
    try:
        with database.reading() as snapshot:
            size = int(snapshot.meta()["dimensions"])
            lots = [vectors for _, vectors in snapshot.vectors(-1, size)]
    finally:
        database.close()
    found = np.concatenate(lots) if lots else np.zeros((0, size), np.float32)
    return np.asarray(found[np.linalg.norm(found, axis=1) > 0], np.float32)
