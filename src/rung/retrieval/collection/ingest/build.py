"""A build: files and folders (or documents) into a collection, in transactions of whole documents, so that a killed
one goes on where it was. What cannot be taken in is told, and the rest goes in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import documents
from rung.core.errors import InputError
from rung.core.parts.problem import Problem
from rung.core.types import Document, Progress
from rung.documents import Source
from rung.retrieval.collection.database.snapshot import StoredDocument
from rung.retrieval.collection.derived.derived import StaleError
from rung.retrieval.collection.ingest import ray
from rung.retrieval.collection.ingest.write import Built, Given, put, remove
from rung.retrieval.filter.conditions import clean

if TYPE_CHECKING:
    from rung.retrieval.collection.collection import Collection

BATCH_DOCUMENTS = 1024
BATCH_CHARACTERS = 2_000_000
_SYSTEMIC = 8
"""Documents of a batch that fail one after another before the fault is taken to be no document's."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """``include`` and ``exclude`` are patterns for files (see documents.scan). ``prune``: documents whose file is
    gone from the given folders are deleted. ``on`` ray: files are read, cut and embedded by Ray Data (see ray.py),
    with the same result; all passages of an edited document are embedded again."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    prune: bool = True
    on: str = "local"

    def __post_init__(self) -> None:
        if self.on not in ("local", "ray"):
            raise InputError(f"got on {self.on!r}, expected local or ray", remedy="for instance: --on ray")


def build(
    collection: Collection,
    sources: Iterable[str | Path | Document],
    progress: Callable[[Progress], None],
    options: BuildOptions,
) -> Built:
    """Take in what is new or changed; see Collection.build. The caller holds the lock."""
    with ThreadPoolExecutor(1, "rung-follow") as follower:
        work = _Work(collection, progress, follower)
        stream = iter(sources)
        first = next(stream, None)
        if isinstance(first, Document):
            for document in chain([first], stream):
                if not isinstance(document, Document):
                    raise InputError(f"got {document!r} among Documents", remedy="give either paths or Documents")
                work.take(document)
        elif first is not None:
            _take_files(work, [Path(str(path)) for path in chain([first], stream)], options)
        work.flush()
        progress(Progress("write", work.done, work.done, "writing the side files"))
    return work.result()


@dataclass
class _Work:
    """A running build: documents wait here until there are enough for one transaction; meanwhile a thread of its own
    brings the derived parts up to what is written (NumPy and SQLite both let go of Python's lock, so a second core
    is of use)."""

    collection: Collection
    progress: Callable[[Progress], None]
    follower: ThreadPoolExecutor
    started: float = field(default_factory=time.perf_counter)
    total: int = 0
    size: int = 0
    done: int = 0
    problems: list[Problem] = field(default_factory=list)
    built: Built = field(default_factory=Built)
    _waiting: list[Document] = field(default_factory=list)
    _stamps: dict[str, tuple[str, str]] = field(default_factory=dict)
    _ready: dict[str, ray.Ready] = field(default_factory=dict)
    _drops: list[str] = field(default_factory=list)
    _held: int = 0
    _seen: set[str] = field(default_factory=set)
    _following: Future[None] | None = None

    def take(self, document: Document, source: str = "", stamp: str = "", ready: ray.Ready | None = None) -> None:
        if document.id in self._seen:
            said = f"another document has the id {document.id!r}: only the first was taken in"
            self.problems.append(Problem(said, file=source or document.id, code="duplicate-id"))
            return
        self._seen.add(document.id)
        metadata, wrong = without_unusable(document)
        if wrong:
            self.problems += [replace(problem, file=source or document.id) for problem in wrong]
            document = replace(document, metadata=metadata)
            ready = None  # it was cut with what is no metadata
        self._waiting.append(document)
        if source:
            self._stamps[document.id] = (source, stamp)
        if ready is not None:
            self._ready[document.id] = ready
        self._held += len(document.text)
        if len(self._waiting) >= BATCH_DOCUMENTS or self._held >= BATCH_CHARACTERS:
            self.flush()

    def skip(self, count: int, size: int) -> None:
        self.done += count
        self.size += size
        self.built += Built(unchanged=count)

    def drop(self, ids: Sequence[str]) -> None:
        self._drops += ids
        if len(self._drops) >= BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._drops:
            self.built += Built(deleted=remove(self.collection, self._drops, full=False))
            self._drops = []
        if self._waiting:
            self._put()
            self.done += len(self._waiting)
            self._waiting, self._stamps, self._ready, self._held = [], {}, {}, 0
        self._follow()
        seconds = max(1e-6, time.perf_counter() - self.started)
        note = f"{self.done / seconds:,.1f} documents/s, {self.built.passages / seconds:,.0f} passages/s"
        total = None
        if self.total and self.size:
            total = max(self.done, round(self.done * self.total / self.size))
            note += f", {seconds * max(0.0, self.total / self.size - 1):,.0f} s left"
        self.progress(Progress("build", self.done, total, note))

    def _put(self) -> None:
        """The whole batch in one transaction; where a document is refused, each by itself, and those refused are
        told. Where none is taken the fault is no document's, and is raised."""
        given = Given(self._waiting, self._stamps, self._ready)
        try:
            self.built += put(self.collection, given, full=False)
            return
        except InputError:
            if len(self._waiting) == 1 and not self.done:
                raise
        refused = 0
        for at, document in enumerate(self._waiting):
            try:
                self.built += put(self.collection, replace(given, documents=[document]), full=False)
            except InputError as error:
                refused += 1
                if refused == at + 1 == min(_SYSTEMIC, len(self._waiting)) and not self.done:
                    raise
                source, _ = self._stamps.get(document.id, (document.id, ""))
                self.problems.append(Problem(f"{document.id}: {error.message}", file=source, code=error.code))

    def _follow(self) -> None:
        if self._following is not None:
            if not self._following.done():
                return  # it will be brought to the newest in one go
            self._following.result()
        self._following = self.follower.submit(self._bring)

    def _bring(self) -> None:
        try:
            with self.collection.database.reading() as snapshot:
                self.collection.parts.follow(snapshot)
        except StaleError:  # a search was quicker
            return

    def result(self) -> Built:
        if self._following is not None:
            self._following.result()
        seconds = time.perf_counter() - self.started
        return replace(self.built, seconds=seconds, problems=tuple(self.problems))


def without_unusable(document: Document) -> tuple[Mapping[str, Any], list[Problem]]:
    """A document's metadata without what no filter could test (a field without a name, a number that is not finite,
    a nested value), and what was left out."""
    try:
        clean(document.metadata)
        return document.metadata, []
    except InputError:
        kept: dict[str, Any] = {}
        wrong = []
        for name, value in document.metadata.items():
            try:
                clean({name: value})
                kept[name] = value
            except InputError as error:
                said = f"{document.id}: {error.message}; this value was left out"
                wrong.append(Problem(said, level="warning", code="bad-metadata"))
        return kept, wrong


# ---------------------------------------------------------------- files


def _take_files(work: _Work, paths: Sequence[Path], options: BuildOptions) -> None:
    collection = work.collection
    roots = dict(collection.origin.meta.get("roots", {}))
    found = documents.scan(paths, include=options.include, exclude=options.exclude, troubles=work.problems, roots=roots)
    if roots != collection.origin.meta.get("roots"):
        with collection.database.writing() as transaction:
            transaction.set("roots", roots)
        collection.origin.meta["roots"] = roots
    work.total = sum(source.size for source in found)
    stored: dict[str, list[StoredDocument]] = {}
    with collection.database.reading() as snapshot:
        for known in snapshot.sources():
            stored.setdefault(known.source, []).append(known)
    fresh: list[tuple[Source, list[StoredDocument]]] = []
    for source in found:
        old = stored.get(source.id, [])
        if old and all(known.stamp == _stamp(source) for known in old):
            work.skip(len(old), source.size)
        else:
            fresh.append((source, old))
    seen: set[str] = set()
    for part in _parts(collection, fresh, options.on):
        source, old = fresh[part.place]
        for document in part.documents:
            seen.add(document.id)
            work.take(document, source.id, _stamp(source), part.ready.get(document.id))
        if not part.ended:
            continue
        work.problems += part.troubles
        work.size += source.size
        # Nothing could be read of a file that was read before: what is stored stays, the trouble says so.
        if seen or not any(problem.level == "error" and problem.file == source.id for problem in part.troubles):
            work.drop([known.id for known in old if known.id not in seen])
        seen = set()
    if options.prune:
        there = {source.id for source in found}
        given = documents.under(paths, roots)
        for name, gone in stored.items():
            if name not in there and given(name):
                work.drop([known.id for known in gone])


def _parts(
    collection: Collection, sources: Sequence[tuple[Source, list[StoredDocument]]], on: str
) -> Iterator[ray.Part]:
    """The documents of the sources, in order; on Ray with their passages and vectors."""
    if on == "ray":
        embedder = collection.embedder if collection.dimensions else None
        tools = ray.Tools(
            collection.origin.meta["chunker"],
            embedder.name if embedder else "",
            embedder.fingerprint if embedder else "",
            collection.origin.splitter,
        )
        yield from ray.prepare([(source, {item.id: item.hash for item in old}) for source, old in sources], tools)
        return
    problems: list[Problem] = []
    for place, item in documents.read_all([source for source, _ in sources]):
        if isinstance(item, Document):
            yield ray.Part(place, (item,))
        elif item is not None:
            problems.append(item)
        else:
            yield ray.Part(place, (), troubles=problems, ended=True)
            problems = []


def _stamp(source: Source) -> str:
    """What tells that a file was not changed, without opening it."""
    return f"{source.size}:{source.mtime_ns}"
