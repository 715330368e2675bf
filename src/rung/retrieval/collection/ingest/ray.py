"""Reading, cutting and embedding on Ray Data (docs.ray.io/en/latest/data/data.html), for corpora that one process is
slow for.

Two steps run where Ray has room: files are read into parts of a few hundred documents, parts are cut and embedded. What
they make comes back in the order of the files, and the one process that holds the collection writes it, so that the
result is the same as that of a local build. Workers read files by path and open the embedder by name: on several
machines both must be there.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from rung.core import errors
from rung.core.errors import InputError, RungError
from rung.core.parts.problem import Problem
from rung.core.system.extras import require
from rung.core.types import Document, Passage
from rung.documents import Source
from rung.retrieval.collection.ingest.write import cleaned, content_hash

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from rung.core.protocols import Embedder

DOCUMENTS = 256
CHARACTERS = 500_000
"""A part holds at most so many documents, and ends with the document that brings it over so many characters."""
STORE = 512 * 1024 * 1024
"""Bytes of shared memory that a Ray of our own may hold parts in."""


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
    those that are the same are neither cut nor embedded.

    Uses the Ray that runs (``ray.init`` before, or RAY_ADDRESS), else starts one on this machine and ends it. Raises
    what a worker raised on purpose, MissingExtra without Ray, RungError when Ray itself failed.
    """
    data = require("ray.data", "ray", "--on ray")
    pyarrow = require("pyarrow", "ray", "--on ray")
    import ray

    blocks = []
    for group in _groups(sources):
        rows = [pickle.dumps((place, _absolute(sources[place][0]), dict(sources[place][1]))) for place in group]
        blocks.append(pyarrow.table({"part": pyarrow.array(rows, pyarrow.large_binary())}))
    if not blocks:
        return
    with _running(ray), _quiet(data):
        try:
            # Reading asks for less than a core, so that the two steps stay two: one large file is cut and embedded by
            # many.
            found = data.from_arrow(blocks).map_batches(
                _read, batch_size=1, batch_format="pyarrow", num_cpus=0.5, zero_copy_batch=True
            )
            found = found.map_batches(
                partial(_make, tools=tools), batch_size=1, batch_format="pyarrow", num_cpus=1, zero_copy_batch=True
            )
            for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                for raw in batch.column("part").to_pylist():
                    made = pickle.loads(raw)  # noqa: S301  our own worker wrote it
                    if isinstance(made, _Raised):
                        raise made.error()
                    yield made
        except (ray.exceptions.RayError, data.exceptions.RayDataUserCodeException) as error:
            said = str(error).strip().splitlines()
            raise RungError(
                f"Ray could not finish the build: {said[-1] if said else type(error).__name__}",
                remedy="what was written stays: run the same again, or leave --on ray out",
            ) from error


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


@contextmanager
def _running(ray: Any) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        options["object_store_memory"] = STORE
    try:
        ray.init(**options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RungError(
            f"cannot start or reach Ray: {error}", remedy="see RAY_ADDRESS, or leave --on ray out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Results in the order of what went in, parts kept small, nothing printed; the caller's settings come back at
    the end."""
    context = data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "target_max_block_size": 4 * CHARACTERS,
    }
    before = {name: getattr(context, name) for name in wanted}
    order = context.execution_options.preserve_order
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name, value in wanted.items():
        setattr(context, name, value)
    context.execution_options.preserve_order = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        context.execution_options.preserve_order = order
        logger.setLevel(level)


# ---------------------------------------------------------------- in a worker


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error that was raised on purpose, on its way to the process that asked."""

    kind: str
    message: str
    remedy: str

    def error(self) -> RungError:
        kind: type[RungError] = getattr(errors, self.kind, RungError)
        return kind(self.message, remedy=self.remedy)


def _table(value: Any) -> pa.Table:
    import pyarrow

    return pyarrow.table({"part": pyarrow.array([pickle.dumps(value, protocol=5)], pyarrow.large_binary())})


def _read(batch: pa.Table) -> Iterator[pa.Table]:
    """Sources to parts without passages, each with the hashes that concern it."""
    from rung import documents

    for raw in batch.column("part").to_pylist():
        place, source, known = pickle.loads(raw)  # noqa: S301  the process that asked wrote it
        troubles: list[Problem] = []
        waiting: list[Document] = []
        size = 0
        try:
            for document in documents.read(source, troubles):
                waiting.append(document)
                size += len(document.text)
                if len(waiting) >= DOCUMENTS or size >= CHARACTERS:
                    yield _table((Part(place, waiting), _of(known, waiting)))
                    waiting, size = [], 0
            yield _table((Part(place, waiting, troubles=troubles, ended=True), _of(known, waiting)))
        except RungError as error:
            yield _table(_Raised(type(error).__name__, error.message, error.remedy))


def _of(known: Mapping[str, bytes], documents: Sequence[Document]) -> dict[str, bytes]:
    return {document.id: known[document.id] for document in documents if document.id in known}


def _make(batch: pa.Table, tools: Tools) -> Iterator[pa.Table]:
    """Parts with passages and vectors for every document that is new or changed."""
    for raw in batch.column("part").to_pylist():
        found = pickle.loads(raw)  # noqa: S301  _read wrote it
        if not isinstance(found, _Raised):
            try:
                part, known = found
                found = _finished(part, known, tools)
            except RungError as error:
                found = _Raised(type(error).__name__, error.message, error.remedy)
        yield _table(found)


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
