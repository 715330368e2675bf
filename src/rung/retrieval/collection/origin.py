"""What a collection was made with: its embedder, its chunker, and whether they are still the same."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Embedder, Resources
from rung.core.types import Document, Passage
from rung.retrieval import chunk
from rung.retrieval.chunk import Chunker

Splitter = Callable[[Document], Sequence[Passage]]
"""A function that cuts documents, where a Chunker's text form is not enough."""
Identity = tuple[str, str, int]
"""An embedder's name, the fingerprint of its weights, and its dimensions."""


class Origin:
    """``meta`` is what was recorded when the collection ``name`` was made; embedder and chunker are opened on use."""

    def __init__(
        self, name: str, meta: dict[str, Any], splitter: Chunker | Splitter | None, resources: Resources | None
    ) -> None:
        self.name, self.meta = name, meta
        self._splitter, self._resources = splitter, resources
        self._embedder: Embedder | None = None

    @property
    def dimensions(self) -> int:
        """Of the vectors; 0: the collection has none."""
        return int(self.meta["dimensions"])

    @property
    def embedder(self) -> Embedder:
        """Raises InputError when it is another one by now, or there is none."""
        if self._embedder is None:
            if not self.dimensions:
                raise InputError(
                    f"the collection {self.name} has no vectors",
                    remedy="search it with mode keyword (--mode keyword)",
                    code="no-vectors",
                )
            self.use(open_embedder(self.meta["embedder"], self._resources))
        assert self._embedder is not None
        return self._embedder

    def use(self, embedder: Embedder) -> None:
        """Embed with this one. Raises InputError when the vectors were made by another."""
        made: Identity = (self.meta["embedder"], self.meta["fingerprint"], self.dimensions)
        given: Identity = (embedder.name, fingerprint(embedder), embedder.dimensions)
        if made != given:
            raise InputError(
                f"the vectors of {self.name} were made by another embedder: {_difference(made, given)}; their scores"
                " would mean nothing",
                remedy=f"{_way_back(made, given)}, search by words (--mode keyword), or build again: rung index drop"
                f" {self.name}, then rung index build DOCS --to {self.name} --embedder {given[0]}",
            )
        self._embedder = embedder

    @property
    def splitter(self) -> Splitter | None:
        """The function that cuts the documents, where it is one and no chunker with a text form."""
        return self._splitter if callable(self._splitter) else None

    def cut(self, document: Document) -> Sequence[Passage]:
        """The passages of a document."""
        if self._splitter is None:
            spec = self.meta["chunker"]
            self._splitter = chunk.chunker(spec, self.embedder if spec.startswith("semantic") else None)
        return self._splitter(document) if callable(self._splitter) else self._splitter.split(document)


def record(embedder: Embedder | None, chunker: Chunker | Splitter | str | None, index: str) -> dict[str, Any]:
    """What is recorded of a collection that is made with these."""
    return {
        "embedder": embedder.name if embedder else "",
        "fingerprint": fingerprint(embedder) if embedder else "",
        "dimensions": embedder.dimensions if embedder else 0,
        "chunker": spell(chunker, embedder),
        "index": index,
        "created": time.time(),
        "key": os.urandom(8).hex(),
    }


def spell(chunker: Chunker | Splitter | str | None, embedder: Embedder | None) -> str:
    """The text form of a chunker, as the collection records it."""
    if isinstance(chunker, str) and chunker.startswith("semantic"):
        return chunker
    if chunker is None or isinstance(chunker, str):
        return str(chunk.chunker(chunker or chunk.DEFAULT, embedder))
    if callable(chunker):
        return f"function {getattr(chunker, '__name__', type(chunker).__name__)}"
    return str(chunker)


def open_embedder(name: str, resources: Resources | None) -> Embedder:
    if resources is None:
        from rung.models import Pool

        resources = Pool()
    return resources.embedder(name)


def fingerprint(embedder: Embedder) -> str:
    return str(getattr(embedder, "fingerprint", embedder.name))


def _difference(made: Identity, given: Identity) -> str:
    if made[2] != given[2]:
        return f"{made[2]} dimensions, now {given[2]}"
    if made[0] != given[0]:
        return f"{made[0] or 'no embedder'}, not {given[0]}"
    return f"other weights of {made[0]} ({made[1][:12]}, now {given[1][:12]})"


def _way_back(made: Identity, given: Identity) -> str:
    if made[0] == given[0]:
        return "put those weights back"
    return f"use {made[0]}" if made[0] else "leave it out"


def check_chunker(meta: Mapping[str, Any], chunker: Chunker | Splitter | str | None) -> None:
    """Raises InputError for a chunker other than the one that the collection was cut by."""
    wanted = meta["chunker"] if chunker is None else spell(chunker, None)
    if wanted != meta["chunker"]:
        raise InputError(
            f"the collection was cut by {meta['chunker']!r}, not by {wanted!r}",
            remedy=f"leave the chunker out, or build another collection: rung index build DOCS --to OTHER --chunk {wanted}",
        )
