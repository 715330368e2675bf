"""``rung search``: the best passages of a collection for a query."""

from __future__ import annotations

import json as encoder
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from rung.core.codec import encode
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.types import Hit
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import find
from rung.retrieval.filter.text import read
from rung.retrieval.rank.options import SearchOptions

WIDTH = 300


@dataclass(frozen=True)
class Wanted:
    """What is searched for, and how it is shown. A mode or fusion that is none is refused by the collection."""

    mode: str = option("hybrid", "hybrid, dense or keyword.")
    k: int = option(5, "How many passages.", flags=("-k",), low=1)
    where: str | None = option(None, "'lang=en year>=2020 tag in a,b', or JSON.", metavar="FILTER")
    fusion: str = option("adaptive", "How hybrid combines: adaptive, rrf or weighted.")
    weight: float | None = option(None, "Share of the dense score under weighted, 0 to 1.")
    diversity: float | None = option(None, "MMR: 1 relevance alone, 0 difference alone; not given: no MMR.")
    rerank: str | None = option(None, "Order the best anew by a reranker.", metavar="NAME")
    full: bool = option(False, "Whole passages.", flags=("--full",))
    json: bool = option(False, "Print JSON: passages, scores and highlights.", flags=("--json",))

    def options(self) -> SearchOptions:
        """Raises InputError for a filter that cannot be read."""
        how: dict[str, Any] = {"mode": self.mode, "fusion": self.fusion, "weight": self.weight}
        condition = None if self.where is None else read(self.where)
        return SearchOptions(k=self.k, where=condition, diversity=self.diversity, rerank=self.rerank, **how)


def search(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The collection (rung index list).")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    wanted: Wanted,
) -> None:
    """Print the best passages for a query: scores with their parts, source, and the text with the query's words
    marked."""
    options = wanted.options()
    with Collection.open(find(name, Settings().home)) as collection:
        hits = collection.search(query, options)
    if wanted.json:
        typer.echo(encoder.dumps([encode(hit) for hit in hits], indent=2, ensure_ascii=False))
        return
    if not hits:
        typer.echo("nothing found", err=True)
        raise typer.Exit(1)
    for place, hit in enumerate(hits, 1):
        typer.echo(_shown(place, hit, wanted.full))


def _shown(place: int, hit: Hit, full: bool) -> str:
    passage = hit.passage
    parts = ", ".join(f"{name} {value:.3f}" for name, value in hit.parts.items())
    head = f"{place}. {hit.score:.4f}" + (f" ({parts})" if parts else "") + f"  {passage.id}"
    first = hit.highlights[0].start if hit.highlights else 0
    start, end = 0, len(passage.text)
    if not full and end > WIDTH:
        start = max(0, min(first - WIDTH // 4, end - WIDTH))
        end = start + WIDTH
    live = sys.stdout.isatty()
    pieces: list[str] = []
    at = start
    for span in hit.highlights:
        if live and start <= span.start and span.end <= end:
            pieces += [passage.text[at : span.start], typer.style(passage.text[span.start : span.end], bold=True)]
            at = span.end
    pieces.append(passage.text[at:end])
    text = ("…" if start else "") + "".join(pieces) + ("…" if end < len(passage.text) else "")
    extra = {key: value for key, value in passage.metadata.items() if key in ("heading", "page", "title")}
    about = "".join(f"  {key}: {value}" for key, value in extra.items())
    return f"{head}{about}\n   " + " ".join(text.split()) + "\n"
