"""Reading, cutting and embedding on Ray Data (docs.ray.io/en/latest/data/data.html), for corpora that one process is
slow for.

Two steps run where Ray has room: files are read into parts of a few hundred documents, parts are cut and embedded. What
they make comes back in the order of the files, and the one process that holds the collection writes it, so that the
result is the same as that of a local build. Workers read files by path and open the embedder by name: on several
machines both must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from rung.core.errors import InputError
from rung.core.parts.problem import Problem
from rung.core.system.ray import RayStep, spread
from rung.core.types import Document, Passage
from rung.documents import Source
from rung.retrieval.collection.ingest.write import cleaned, content_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rung.core.protocols import Embedder

DOCUMENTS = 256
CHARACTERS = 500_000
"""A part holds at most so many documents, and ends with the document that brings it over so many characters."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A document's passages and their vectors (shape (passages, dimensions); None: the collection has none)."""

    passages: tuple[Passage, ...]
    vectors: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Part:
    """Documents of the source at ``place``, in the source's order. ``ready`` holds those that need no more work, by
    id. The last part of a source has ``ended`` set, and the source's troubles."""

    place: int
    documents: Sequence[Document]
    ready: Mapping[str, Ready] = field(default_factory=dict)
    troubles: Sequence[Problem] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What a worker cuts and embeds with, by name. ``embedder`` empty: nothing is embedded. ``cut`` stands in for a
    chunker that has no name."""

    chunker: str
    embedder: str = ""
    fingerprint: str = ""
    cut: Callable[[Document], Sequence[Passage]] | None = None


def prepare(sources: Sequence[tuple[Source, Mapping[str, bytes]]], tools: Tools) -> Iterator[Part]:
    """Parts of all sources, in order. A source comes with the content hashes of the documents that are stored of it:
    those that are the same are neither cut nor embedded. Raises as ``core.system.ray`` does."""
    groups = [
        [(place, _absolute(sources[place][0]), dict(sources[place][1])) for place in group]
        for group in _groups(sources)
    ]
    # Reading asks for less than a core, so that the two steps stay two: one large file is cut and embedded by many.
    yield from spread(groups, [RayStep(read, 0.5), RayStep(partial(make, tools=tools))])


def _groups(sources: Sequence[tuple[Source, Mapping[str, bytes]]]) -> Iterator[list[int]]:
    """Places of sources that one task reads: a task has its price, so small files go together."""
    group: list[int] = []
    size = 0
    for place, (source, _) in enumerate(sources):
        group.append(place)
        size += source.size
        if len(group) >= DOCUMENTS // 4 or size >= 2 * CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _absolute(source: Source) -> Source:
    return replace(source, path=source.path.absolute())


# ---------------------------------------------------------------- in a worker


def read(given: tuple[int, Source, Mapping[str, bytes]]) -> Iterator[tuple[Part, dict[str, bytes]]]:
    """A source to parts without passages, each with the hashes that concern it."""
    from rung import documents

    place, source, known = given
    troubles: list[Problem] = []
    waiting: list[Document] = []
    size = 0
    for document in documents.read(source, troubles):
        waiting.append(document)
        size += len(document.text)
        if len(waiting) >= DOCUMENTS or size >= CHARACTERS:
            yield Part(place, waiting), _of(known, waiting)
            waiting, size = [], 0
    yield Part(place, waiting, troubles=troubles, ended=True), _of(known, waiting)


def _of(known: Mapping[str, bytes], documents: Sequence[Document]) -> dict[str, bytes]:
    return {document.id: known[document.id] for document in documents if document.id in known}


def make(given: tuple[Part, Mapping[str, bytes]], tools: Tools) -> Iterator[Part]:
    """A part with passages and vectors for every document that is new or changed."""
    part, known = given
    yield _finished(part, known, tools)


def _finished(part: Part, known: Mapping[str, bytes], tools: Tools) -> Part:
    import numpy as np

    embedder = _embedder(tools.embedder, tools.fingerprint) if tools.embedder else None
    cut = tools.cut or _chunker(tools.chunker, tools.embedder, tools.fingerprint)
    split: dict[str, tuple[Passage, ...]] = {}
    for given in part.documents:
        document = cleaned(given)
        if known.get(document.id) != content_hash(document):
            split[document.id] = tuple(cut(document)) if document.text else ()
    vectors: NDArray[np.float32] | None = None
    if embedder is not None:
        texts = [passage.text for passages in split.values() for passage in passages]
        vectors = (
            np.asarray(embedder.embed(texts), np.float32) if texts else np.empty((0, embedder.dimensions), np.float32)
        )
    ready: dict[str, Ready] = {}
    at = 0
    for id, passages in split.items():
        ready[id] = Ready(passages, None if vectors is None else vectors[at : at + len(passages)])
        at += len(passages)
    return replace(part, ready=ready)


@cache
def _embedder(name: str, fingerprint: str) -> Embedder:
    from rung.models import Pool

    found = Pool().embedder(name)
    if found.fingerprint != fingerprint:
        raise InputError(
            f"the embedder {name} of a Ray worker is not the one the collection was made with",
            remedy="install the same weights there, or leave --on ray out",
        )
    return found


@cache
def _chunker(spec: str, embedder: str, fingerprint: str) -> Callable[[Document], Sequence[Passage]]:
    from rung.retrieval.chunk import chunker

    return chunker(spec, _embedder(embedder, fingerprint) if spec.startswith("semantic") else None).split
