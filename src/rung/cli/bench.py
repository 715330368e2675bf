"""``rung bench``: measure a part on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(help="Measure a part on this machine.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measure a part on this machine."""


@app.command("index")
def index(
    data: Annotated[
        str, typer.Option(help="random (clustered vectors), a .npy or .fvecs file, or a collection's name.")
    ] = "random",
    backends: Annotated[
        str, typer.Option(help="Index backends, separated by commas; empty: every local one that is installed.")
    ] = "",
    rows: Annotated[int, typer.Option(min=100, help="How many vectors at most.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1, help="How many of them are held out as queries.")] = 200,
    dimensions: Annotated[int, typer.Option(min=2, help="Length of random vectors.")] = 256,
    k: Annotated[int, typer.Option(min=1, help="Neighbours a query.")] = 10,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each speed is measured.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of random vectors and of the choice of queries.")] = 0,
    to: Annotated[Path, typer.Option(help="Where the picture goes (SVG).")] = Path("bench-index.svg"),
) -> None:
    """Draw recall@k against queries a second for each backend and setting."""
    import numpy as np

    from rung.core.columns import align
    from rung.core.errors import InputError
    from rung.retrieval.measure.curve import cores, draw, installed, make_clusters, measure, read_vectors, table

    if data == "random":
        vectors = make_clusters(rows + queries, dimensions, seed)
    elif data.endswith((".npy", ".fvecs")):
        vectors = read_vectors(Path(data))
    else:
        vectors = _collection(data)
    if len(vectors) < queries + k:
        raise InputError(
            f"{data} holds {len(vectors)} vectors, too few for {queries} queries", remedy="give a smaller --queries"
        )
    chosen = np.random.default_rng(seed).permutation(len(vectors))[: rows + queries]
    asked, kept = vectors[chosen[:queries]], vectors[chosen[queries:]]
    named = [name.strip() for name in backends.split(",") if name.strip()]
    typer.echo(f"{len(kept):,} vectors of {kept.shape[1]} numbers, {queries} queries, {cores()} cores", err=True)
    points = []
    for point in measure(named or installed(), kept, asked, k=k, seconds=seconds, skip_missing=not named):
        points.append(point)
        typer.echo(f"  {point.backend} {point.setting}: recall {point.recall:.3f}", err=True)
    typer.echo(align(table(points, k), right=2))
    title = f"{len(kept):,} x {kept.shape[1]}, {Path(data).name}, {cores()} cores"
    try:
        to.write_text(draw(points, k, title), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the picture: {error.strerror}", file=to, remedy="give another --to") from None
    typer.echo(f"picture: {to}")


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
