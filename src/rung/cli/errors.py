"""``rung errors``: what a rung gets wrong, in clusters."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

import typer

from rung.cli import session
from rung.cli.options import Json, RungName, RunId, StoreUrl
from rung.core import files
from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.ladder.export import choose
from rung.ladder.history import find_rung, read_results, read_run
from rung.models import Pool
from rung.store import Store
from rung.studies import errors as room


def errors(
    run: RunId = "last",
    rung: RungName = "",
    slice_: Annotated[
        str, typer.Option("--slice", metavar="NAME", help="One cluster, by its name or number, written to --to.")
    ] = "",
    to: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Where to write the slice's rows: data for a task.")
    ] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Cluster a rung's failures, name and size them; write one as a slice that a task file can hold."""

    async def work(pool: Pool, opened: Store) -> None:
        record = read_run(opened, run)
        title = find_rung(record, rung).title if rung else choose(record).title
        results = await read_results(opened, record, title, pool, what="errors")
        found = room.analyse(results, record.metrics[0])
        if not slice_:
            typer.echo(canonical(found) if json else f"{title}, run {record.id}: {room.table(found)}")
            return
        numbered = {str(place): cluster for place, cluster in enumerate(found.clusters, 1)}
        cluster = numbered.get(slice_) or next((c for c in found.clusters if c.name == slice_), None)
        if cluster is None:
            names = ", ".join(f"{n}: {c.name}" for n, c in numbered.items()) or "none"
            raise InputError(f"there is no cluster {slice_!r}", remedy=f"known: {names}")
        if to is None:
            raise InputError("where to is not said", remedy="add --to slice.jsonl")
        by_id = {result.example.id: result.example for result in results}
        lines = [
            codec.dumps({"id": id, **by_id[id].input, "reference": by_id[id].reference}, ensure_ascii=False)
            for id in cluster.ids
        ]
        files.write_file(to, ("\n".join(lines) + "\n").encode())
        typer.echo(f"{cluster.size} rows of {cluster.name!r} to {to}")

    session.run(Settings({"store": store}), work)
