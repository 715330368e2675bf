"""The collection: the thing a user names, builds from documents, and searches.

One folder. ``collection.db`` is the truth (see database.py); ``vectors.bin`` and ``keyword/`` are derived from it, carry the
generation they show and a checksum, follow the truth when they are behind, and are made again when they are not what was
written. So a killed build, a full disk or a damaged side file costs time, never a wrong answer.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from rung.core.codec import canonical
from rung.core.errors import InputError, RungError, StoreError
from rung.core.files import atomic_write
from rung.core.lock import file_lock
from rung.core.problem import Problem
from rung.core.protocols import Embedder, Filter, Index, Resources
from rung.core.types import Document, Hit, Passage, Progress, Span
from rung.retrieval.collection.database import Database, NewDocument, StoredDocument, Written, clean
from rung.retrieval.filter import clean as readable

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import Future, ThreadPoolExecutor

    import numpy as np
    from numpy.typing import NDArray

    from rung.documents import Source
    from rung.retrieval.chunk import Chunker
    from rung.retrieval.collection.ray import Part, Ready
    from rung.retrieval.filter import Columns
    from rung.retrieval.index.snapshot import Matrix
    from rung.retrieval.keyword.keyword import KeywordIndex
    from rung.retrieval.rank.rerank import Reranker

Mode = Literal["hybrid", "dense", "keyword"]
Fusion = Literal["adaptive", "rrf", "weighted"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BATCH_DOCUMENTS = 1024
_BATCH_CHARACTERS = 2_000_000
GRAPH = 100_000
"""From this many passages on, the embedded index searches a graph (backend ``hnsw``) where usearch is installed."""
_FOLLOW_LIMIT = 2000
"""A side file that is behind by more rows than this is written again by whoever opens it."""


Splitter = Callable[[Document], Sequence[Passage]]
"""A function that cuts documents, where a Chunker's text form is not enough."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search. ``where`` is a metadata filter. ``weight`` is the share of the dense score under ``weighted`` (0 to 1).
    ``diversity`` is MMR's lambda: 1 is relevance alone, 0 difference alone, None no MMR. ``rerank`` names a reranker.
    ``depth`` is how many candidates fusion, MMR and rerank choose from. ``highlights`` False: hits come without them, sooner."""

    mode: Mode = "hybrid"
    k: int = 10
    where: Filter | None = None
    fusion: Fusion = "adaptive"
    weight: float | None = None
    diversity: float | None = None
    rerank: str | None = None
    depth: int = 100
    highlights: bool = True


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did, in documents (``passages``: new ones). ``failures`` are (source, reason); the rest went in. ``notes`` are
    of the same form: what was read in a way that somebody should know about (a guessed encoding)."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and bytes. ``dead`` are vectors of deleted passages that ``compact`` would remove."""

    documents: int
    passages: int
    dead: int
    generation: int
    embedder: str
    dimensions: int
    chunker: str
    index: str
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` found: ``damage`` in the truth (build again or restore), and derived parts that were ``repaired``."""

    damage: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _View:
    """What the derived parts show: the vectors as of a generation, and the highest row known then."""

    generation: int
    watermark: int
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class _Words:
    """The keyword index and what it shows; its ids are the rows as texts."""

    generation: int
    watermark: int
    index: KeywordIndex


@dataclass(frozen=True, slots=True)
class _Outer:
    """Another vector index than the embedded one, and what it shows; its ids are the rows as texts."""

    generation: int
    watermark: int
    index: Index


@dataclass(slots=True)
class _Mask:
    """What passes a filter at a generation: positions in the matrix, and the same as ids for the keyword index."""

    generation: int
    positions: NDArray[np.bool_]
    ids: frozenset[str] | None = None


class _StaleError(Exception):
    """The derived parts are ahead of this snapshot; begin again with a newer one."""


class Collection:
    """Documents, their passages and vectors, and search over them. Open one with ``create`` or ``open``.

    Threads may search while one writes; each search sees one generation. Processes may search while one writes; a second
    writer gets a StoreError.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        meta: Mapping[str, Any],
        *,
        embedder: Embedder | None,
        chunker: Chunker | Splitter | None,
        resources: Resources | None,
        wait: float,
    ) -> None:
        self.folder = folder
        self._database = database
        self._meta = dict(meta)
        self._resources = resources
        self._wait = wait
        self._embedder: Embedder | None = None
        self._chunker = chunker
        self._view: _View | None = None
        self._follow_lock = threading.RLock()
        self._write_lock = threading.RLock()
        self._words: _Words | None = None
        self._reranker: tuple[str, Reranker] | None = None
        self._outer: _Outer | None = None
        self._columns: Columns | None = None
        self._masks: dict[str, _Mask] = {}
        self._feeder: ThreadPoolExecutor | None = None
        self._feeding: list[Future[None]] = []
        self._wrote = False
        self._held = False
        self._shut = 0.0
        if embedder is not None:
            self._use(embedder)

    # ------------------------------------------------------------ open and close

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        embedder: Embedder | str | None = "static",
        chunker: Chunker | Splitter | str | None = None,
        index: str = "embedded",
        resources: Resources | None = None,
        wait: float = 2.0,
    ) -> Collection:
        """Make an empty collection in ``folder``. ``embedder`` None: no vectors, keyword search only.

        Raises InputError when there is one already, StoreError when the folder cannot be written.
        """
        folder = Path(folder)
        path = folder / "collection.db"
        if path.exists():
            raise InputError(
                f"there is a collection in {folder} already",
                remedy="open it (Collection.open), or remove it first: rung index drop NAME",
            )
        if embedder is None and index != "embedded":
            raise InputError(
                f"got the index {index} and no embedder: without vectors it would be empty",
                remedy="leave --embedder none or --backend out",
            )
        opened = _embedder(embedder, resources) if isinstance(embedder, str) else embedder
        meta = {
            "embedder": opened.name if opened else "",
            "fingerprint": _fingerprint(opened) if opened else "",
            "dimensions": opened.dimensions if opened else 0,
            "chunker": _spell(chunker, opened),
            "index": index,
            "created": time.time(),
            "key": os.urandom(8).hex(),
        }
        temporary = folder / "collection.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            Database.create(temporary, meta).close()
            os.replace(temporary, path)
        except OSError as error:
            raise StoreError(
                f"cannot make {path}: {error.strerror}", remedy="name a folder you may write to"
            ) from error
        return cls.open(
            folder,
            embedder=opened,
            chunker=chunker if not isinstance(chunker, str) else None,
            resources=resources,
            wait=wait,
        )

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        embedder: Embedder | str | None = None,
        chunker: Chunker | Splitter | str | None = None,
        resources: Resources | None = None,
        wait: float = 2.0,
    ) -> Collection:
        """Open the collection in ``folder``. ``embedder`` and ``chunker`` None: those it was made with, opened on use.

        ``wait`` is how many seconds a write waits for another writer before it gives up. Raises InputError when there is
        none, or when another embedder or chunker is given; StoreError when it is damaged or newer than this program.
        """
        folder = Path(folder)
        path = folder / "collection.db"
        if not path.is_file():
            raise InputError(
                f"there is no collection in {folder}", remedy="make one: rung index build DOCS... --to NAME"
            )
        database = Database(path)
        try:
            with database.reading() as link:
                meta = database.meta(link)
            if meta.get("format") != 1:
                raise StoreError(
                    f"{path} has format {meta.get('format')}, this program reads format 1",
                    remedy="update rung (pip install -U rung), or build the collection again",
                )
            wanted = meta["chunker"] if chunker is None else _spell(chunker, None)
            if wanted != meta["chunker"]:
                raise InputError(
                    f"the collection was cut by {meta['chunker']!r}, not by {wanted!r}",
                    remedy=f"leave the chunker out, or build another collection: rung index build DOCS --to OTHER --chunk {wanted}",
                )
            if isinstance(embedder, str):
                embedder = _embedder(embedder, resources)
            return cls(
                folder,
                database,
                meta,
                embedder=embedder,
                chunker=None if isinstance(chunker, str) else chunker,
                resources=resources,
                wait=wait,
            )
        except BaseException:
            database.close()
            raise

    @classmethod
    def drop(cls, folder: str | Path, *, leave: bool = False) -> None:
        """Delete the collection in ``folder``. ``leave``: what it has put into another index stays there.

        Raises InputError when there is none, StoreError when somebody writes it or its index cannot be reached.
        """
        with cls.open(folder) as collection, collection._lock("drop"):
            if collection._meta["index"] != "embedded" and not leave:
                with collection._database.reading() as link:
                    last = collection._database.last(link)
                    if last:
                        try:
                            index = collection._other(link, collection._current(link), collection._meta["index"])
                        except RungError as error:
                            raise StoreError(
                                f"the index of {collection.name} cannot be emptied: {error.message}",
                                remedy=f"once it can be reached do it again; or leave its rows there: rung index drop"
                                f" {collection.name} --leave",
                            ) from error
                        index.delete([str(row) for row in range(1, last + 1)])
                        index.flush()
        shutil.rmtree(folder)

    def close(self) -> None:
        """Bring the side files up to date if this process wrote, and let go of everything."""
        try:
            if self._wrote:
                self._save(quiet=True)
        finally:
            if self._outer is not None:
                self._outer.index.close()
                self._outer = None
            self._database.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ parts

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def dimensions(self) -> int:
        """Of the vectors; 0: the collection has none."""
        return int(self._meta["dimensions"])

    @property
    def embedder(self) -> Embedder:
        """The embedder the vectors were made with. Raises InputError when it is another one by now, or there is none."""
        if self._embedder is None:
            if not self.dimensions:
                raise InputError(
                    f"the collection {self.name} has no vectors", remedy="search it with mode keyword (--mode keyword)"
                )
            self._use(_embedder(self._meta["embedder"], self._resources))
        assert self._embedder is not None
        return self._embedder

    def _cut(self, document: Document) -> Sequence[Passage]:
        if self._chunker is None:
            from rung.retrieval.chunk import chunker

            spec = self._meta["chunker"]
            self._chunker = chunker(spec, self.embedder if spec.startswith("semantic") else None)
        return self._chunker(document) if callable(self._chunker) else self._chunker.split(document)

    def _use(self, embedder: Embedder) -> None:
        made = (self._meta["embedder"], self._meta["fingerprint"], self.dimensions)
        given = (embedder.name, _fingerprint(embedder), embedder.dimensions)
        if made != given:
            what = (
                f"{made[2]} dimensions, now {given[2]}"
                if made[2] != given[2]
                else f"{made[0] or 'no embedder'}, not {given[0]}"
                if made[0] != given[0]
                else f"other weights of {made[0]} ({made[1][:12]}, now {given[1][:12]})"
            )
            back = "put those weights back" if made[0] == given[0] else f"use {made[0]}" if made[0] else "leave it out"
            raise InputError(
                f"the vectors of {self.name} were made by another embedder: {what}; their scores would mean nothing",
                remedy=f"{back}, search by words (--mode keyword), or build again: rung index drop {self.name}, then"
                f" rung index build DOCS --to {self.name} --embedder {given[0]}",
            )
        self._embedder = embedder

    # ------------------------------------------------------------ write

    @contextmanager
    def _lock(self, what: str) -> Iterator[None]:
        """One writer at a time, among threads and among processes."""
        taken = StoreError(
            f"the collection {self.name} is being written by another process or thread{self._holder()}",
            remedy="wait until it has ended and run the same again; searching goes on meanwhile",
        )

        def pause(waited: float) -> None:
            if waited >= self._wait:
                raise StoreError(
                    f"the collection {self.name} is being written by another process{self._holder()}",
                    remedy=taken.remedy,
                )
            time.sleep(min(0.02, self._wait))

        if not self._write_lock.acquire(timeout=self._wait):
            raise taken
        try:
            if self._held:  # a write inside a write of this thread
                yield
                return
            try:
                with file_lock(self.folder / "lock", pause):
                    self._held = True
                    try:
                        yield
                    finally:
                        self._held = False
            except OSError as error:
                raise _full(self.folder, error) from error
        finally:
            self._write_lock.release()

    def _holder(self) -> str:
        try:
            note = json.loads((self.folder / "writer.json").read_text())
            return f" (process {note['process']}, {note['what']} since {time.strftime('%H:%M:%S', time.localtime(note['since']))})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def add(self, documents: Iterable[Document]) -> Built:
        """Add new documents, durably. Raises InputError when an id is there already or twice in the call; then none is added."""
        items = list(documents)
        with self._lock("add"):
            with self._database.reading() as link:
                there = self._database.known(link, [item.id for item in items])
            if there:
                raise InputError(
                    f"document {next(iter(there))!r} is in {self.name} already", remedy="use upsert to replace it"
                )
            return self._put(items, full=True)

    def upsert(self, documents: Iterable[Document]) -> Built:
        """Add documents or replace those of the same id, durably and all or none. An unchanged one is left as it is."""
        with self._lock("upsert"):
            return self._put(list(documents), full=True)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents that are there, durably; how many were."""
        with self._lock("delete"):
            return self._remove(list(ids), full=True)

    def _remove(self, ids: Sequence[str], *, full: bool) -> int:
        with self._database.reading() as link:
            known = self._database.known(link, ids)
        if known:
            self._commit([], [item.row for item in known.values()], full=full)
        return len(known)

    def _put(
        self,
        items: Sequence[Document],
        *,
        full: bool,
        stamps: Mapping[str, tuple[str, str]] | None = None,
        ready: Mapping[str, Ready] | None = None,
    ) -> Built:
        """Write documents that are new or changed, in one transaction. ``stamps``: (source, stamp) by id; ``ready``: what was
        cut and embedded elsewhere."""
        started = time.perf_counter()
        ids = [item.id for item in items]
        if len(set(ids)) != len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise InputError(f"document id {twice!r} is there twice", remedy="give each document an id of its own")
        with self._database.reading() as link:
            known = self._database.known(link, ids)
            changed: list[tuple[Document, bytes, StoredDocument | None]] = []
            touched: list[tuple[str, str, int]] = []
            for item in items:
                if not isinstance(item.id, str) or not item.id:
                    raise InputError(f"a document's id is a text, got {item.id!r}", remedy="give it one")
                item = cleaned(item)
                if item.metadata:
                    readable(item.metadata)
                hashed = content_hash(item)
                old = known.get(item.id)
                if old is None or old.hash != hashed:
                    changed.append((item, hashed, old))
                elif stamps and (item.id in stamps) and stamps[item.id] != (old.source, old.stamp):
                    touched.append((*stamps[item.id], old.row))
            entries: list[NewDocument] = []
            fresh: list[str] = []
            reused: dict[str, NDArray[np.float32]] = {}
            embedded = 0
            for item, hashed, old in changed:
                made = (ready or {}).get(item.id)
                passages = self._split(item, None if made is None else made.passages)
                source, stamp = (stamps or {}).get(item.id, ("", ""))
                vectors = None if made is None or not passages else made.vectors
                entries.append(NewDocument(item, hashed, passages, vectors, source, stamp))
                if vectors is not None:
                    embedded += len(passages)
                elif self.dimensions:
                    if old is not None:
                        reused.update(self._old_vectors(link, old.row, {passage.text for passage in passages}))
                    fresh += [passage.text for passage in passages]
        if touched:  # a file that was written anew with the same content is not read again next time
            with self._database.writing(full=full) as link:
                self._database.touch(link, touched)
        if not entries:
            return Built(unchanged=len(items), seconds=time.perf_counter() - started)
        if self.dimensions and fresh:
            rows, asked = self._embed(fresh, reused)
            embedded += asked
            at = 0
            for place, entry in enumerate(entries):
                count = len(entry.passages)
                if count and entry.vectors is None:
                    entries[place] = replace(entry, vectors=rows[at : at + count])
                    at += count
        gone = [old.row for _, _, old in changed if old is not None]
        self._commit(entries, gone, full=full)
        return Built(
            added=len(changed) - len(gone),
            updated=len(gone),
            unchanged=len(items) - len(changed),
            passages=sum(len(entry.passages) for entry in entries),
            embedded=embedded,
            seconds=time.perf_counter() - started,
        )

    def _split(self, document: Document, cut: tuple[Passage, ...] | None = None) -> tuple[Passage, ...]:
        """The document's passages (``cut``: those that were made elsewhere), each of them where it says it is."""
        passages = cut if cut is not None else tuple(self._cut(document)) if document.text else ()
        text = document.text
        for passage in passages:
            if passage.metadata and passage.metadata is not document.metadata:
                readable(passage.metadata)
            if passage.text != text[passage.start : passage.end] or passage.document != document.id:
                raise InputError(
                    f"chunker {self._meta['chunker']!r} gave passage {passage.id!r} of document {document.id!r} a text that is not"
                    f" the document's characters {passage.start} to {passage.end}: citations could not be resolved",
                    remedy="a chunker cuts, it does not rewrite; clean the text before",
                )
        return passages

    def _old_vectors(self, link: sqlite3.Connection, document: int, wanted: set[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors of passages that an edit of the document left as they were, by their text."""
        view = self._current(link)
        old = self._database.of_document(link, document)
        text = self._database.text(link, document)
        kept = [(row, text[start:stop]) for row, start, stop in old if text[start:stop] in wanted]
        places, found = view.matrix.positions([row for row, _ in kept])
        if not len(kept) or not found.all():
            return {}
        vectors = view.matrix.gather(places)
        return {text: vector for (_, text), vector in zip(kept, vectors, strict=True)}

    def _embed(self, texts: list[str], reused: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
        import numpy as np

        ask = [text for text in texts if text not in reused] if reused else texts
        found = np.asarray(self.embedder.embed(ask), np.float32) if ask else np.empty((0, self.dimensions), np.float32)
        if found.shape != (len(ask), self.dimensions):
            raise InputError(
                f"embedder {self.embedder.name} gave vectors of shape {found.shape}, expected {(len(ask), self.dimensions)}",
                remedy=f"the collection {self.name} holds vectors of {self.dimensions} dimensions; use the embedder it was made with",
            )
        if not np.isfinite(found.sum()):
            bad = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
            raise InputError(
                f"embedder {self.embedder.name} gave a vector that is not finite for {ask[bad][:60]!r}",
                remedy="use another embedder, or take that text out",
            )
        if not reused:
            return found, len(ask)
        out = np.empty((len(texts), self.dimensions), np.float32)
        at = 0
        for place, text in enumerate(texts):
            if text in reused:
                out[place] = reused[text]
            else:
                out[place] = found[at]
                at += 1
        return out, len(ask)

    def _commit(self, entries: Sequence[NewDocument], gone: Sequence[int], *, full: bool) -> None:
        """One transaction, then the derived parts. Nobody follows in between: readers of the new generation wait."""
        import numpy as np

        with self._follow_lock:
            with self._database.reading() as link:
                view = self._current(link)
            with self._database.writing(full=full) as link:
                change = self._database.write(link, entries, gone)
            # From here on the write is done; a part that cannot follow now does so on its next use.
            self._wrote = True
            vectors = [entry.vectors for entry in entries if entry.vectors is not None]
            matrix = view.matrix
            if change.added:
                matrix = matrix.extend(
                    change.added, None if not vectors else vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
                )
            if change.removed:
                matrix = matrix.without(change.removed)
            watermark = change.added[-1] if change.added else view.watermark
            self._view = _View(change.generation, watermark, matrix)
            words = self._words
            if words is not None and words.generation == view.generation:
                texts = [passage.text for entry in entries for passage in entry.passages]
                self._words = _Words(change.generation, watermark, words.index)
                self._feed(words.index, change, texts)
            if self._columns is not None and len(self._columns) == len(view.matrix):
                self._columns.extend([passage.metadata for entry in entries for passage in entry.passages])
            outer = self._outer
            if outer is not None and outer.generation == view.generation:
                self._outer = None
                if change.removed:
                    outer.index.delete([str(row) for row in change.removed])
                if change.added:
                    passages = [passage for entry in entries for passage in entry.passages]
                    outer.index.upsert(
                        [str(row) for row in change.added],
                        vectors[0] if len(vectors) == 1 else np.concatenate(vectors),
                        [passage.metadata for passage in passages] if self._meta["index"] != "embedded" else None,
                    )
                self._outer = _Outer(change.generation, watermark, outer.index)

    def _feed(self, index: KeywordIndex, change: Written, texts: list[str]) -> None:
        """Give the keyword index what was written. While a build runs, a thread of its own does so: NumPy and SQLite both let
        go of Python's lock, so that a second core is of use. ``_fed`` waits for it."""

        def work() -> None:
            index.delete([str(row) for row in change.removed])
            index.add([str(row) for row in change.added], texts)

        if self._feeder is None:
            try:
                work()
            except BaseException:
                self._words = None  # made again from the truth
                raise
            return
        if len(self._feeding) > 1:
            self._fed(self._feeding.pop(0))
        self._feeding.append(self._feeder.submit(work))

    def _fed(self, future: Future[None]) -> None:
        try:
            future.result()
        except Exception:
            self._words = None
            raise

    # ------------------------------------------------------------ the derived parts

    def _current(self, link: sqlite3.Connection) -> _View:
        """The derived parts at the snapshot's generation. Raises _StaleError when they are ahead of it."""
        generation = self._database.generation(link)
        view = self._view
        if view is not None and view.generation == generation:
            return view
        with self._follow_lock:
            view = self._view
            if view is not None and view.generation == generation:
                return view
            if view is not None and view.generation > generation:
                raise _StaleError
            self._view = view = self._follow(link, view, generation)
            return view

    def _follow(self, link: sqlite3.Connection, view: _View | None, generation: int) -> _View:
        """Bring a view (None: the side file's, or an empty one) to the snapshot's generation."""
        from rung.retrieval.index.snapshot import Matrix

        floor = self._database.floor(link)
        if view is None or view.generation < floor:
            self._columns = None
            loaded = Matrix.load(self.folder / "vectors.bin", self.dimensions, self._meta["key"])
            if loaded is not None and floor <= loaded[1] <= generation:
                matrix, at, watermark = loaded
            else:
                matrix, at, watermark = Matrix.empty(self.dimensions), -1, 0
            view = _View(at, watermark, matrix)
        matrix = view.matrix
        before = len(matrix)
        if self.dimensions:
            for rows, vectors in self._database.vectors(link, view.watermark, self.dimensions):
                matrix = matrix.extend(rows, vectors)
        else:
            matrix = matrix.extend(self._database.numbers(link, view.watermark), None)
        gone = self._database.buried(link, view.generation)
        if gone:
            matrix = matrix.without(gone)
        if self._columns is not None:
            self._fill(link, matrix)
        fresh = _View(generation, max(self._database.last(link), view.watermark), matrix)
        if len(matrix) - before > _FOLLOW_LIMIT:
            self._keep(lambda: matrix.save(self.folder / "vectors.bin", generation, fresh.watermark, self._meta["key"]))
        return fresh

    def _keyword(self, link: sqlite3.Connection, view: _View) -> KeywordIndex:
        """The keyword index at the view's generation."""
        from rung.retrieval.keyword.keyword import KeywordIndex

        words = self._words
        for future in list(self._feeding):
            self._fed(future)
        if words is not None and words.generation == view.generation:
            return words.index
        with self._follow_lock:
            words, self._words = self._words, None
            floor = self._database.floor(link)
            if words is not None and words.generation > view.generation:
                self._words = words
                raise _StaleError
            if words is None or words.generation < floor:
                words = _Words(-1, 0, KeywordIndex())
                try:
                    index = KeywordIndex.open(self.folder / "keyword")
                    key, _, mark = index.checksum.partition(":")
                    if key == self._meta["key"] and floor <= index.generation <= view.generation:
                        words = _Words(index.generation, int(mark), index)
                except Exception:  # noqa: S110  whatever a damaged file makes the reader say: it is made again
                    pass
            index, added = words.index, 0
            for batch in self._database.after(link, words.watermark):
                index.upsert([str(row) for row, _ in batch], [text for _, text in batch])
                added += len(batch)
            gone = self._database.buried(link, words.generation) if words.generation >= 0 else []
            if gone:
                index.delete([str(row) for row in gone])
            self._words = _Words(view.generation, view.watermark, index)
            if added > _FOLLOW_LIMIT:
                mark = f"{self._meta['key']}:{view.watermark}"
                self._keep(lambda: index.save(self.folder / "keyword", view.generation, mark))
            return index

    def _other(self, link: sqlite3.Connection, view: _View, spec: str) -> Index:
        """The vector index that the collection names, at the view's generation. What it has not seen is put in again, which
        does no harm twice: rows never change and their numbers are never used again."""
        from rung.retrieval.index import open_index

        outer = self._outer
        if outer is not None and outer.generation == view.generation:
            return outer.index
        with self._follow_lock:
            outer, self._outer = self._outer, None
            if outer is not None and outer.generation > view.generation:
                self._outer = outer
                raise _StaleError
            floor = self._database.floor(link)
            note = self.folder / "index.json"
            if outer is None:
                opened = open_index(spec, self.folder / "index", self.dimensions)
                outer = _Outer(-1, 0, opened)
                try:
                    seen = json.loads(note.read_text())
                    if seen["key"] == self._meta["key"] and seen["rows"] == len(opened):
                        outer = _Outer(int(seen["generation"]), int(seen["watermark"]), opened)
                except (OSError, ValueError, KeyError, TypeError):
                    pass
            if not floor <= outer.generation <= view.generation:
                outer = _Outer(-1, 0, outer.index)
                alive = {int(row) for row in self._alive(view)}
                unknown = [str(row) for row in range(1, self._database.last(link) + 1) if row not in alive]
                if unknown and len(outer.index):
                    outer.index.delete(unknown)
            fresh = self._database.metadata(link, outer.watermark)
            while batch := list(islice(fresh, 20_000)):
                places, found = view.matrix.positions([row for row, _ in batch])
                if not found.all():
                    raise StoreError(
                        f"{self.name} has passages without vectors", remedy=f"see: rung index verify {self.name}"
                    )
                outer.index.upsert(
                    [str(row) for row, _ in batch], view.matrix.gather(places), [item for _, item in batch]
                )
            gone = self._database.buried(link, outer.generation) if outer.generation >= 0 else []
            if gone:
                outer.index.delete([str(row) for row in gone])
            self._outer = _Outer(view.generation, view.watermark, outer.index)
            self._keep(lambda: self._flush(view))
            return outer.index

    def _flush(self, view: _View) -> None:
        outer = self._outer
        if outer is None or outer.generation != view.generation:
            return
        outer.index.flush()
        seen = {
            "key": self._meta["key"],
            "generation": outer.generation,
            "watermark": outer.watermark,
            "rows": len(outer.index),
        }
        _write(self.folder / "index.json", json.dumps(seen))

    def _alive(self, view: _View) -> NDArray[np.int64]:
        return view.matrix.rows if view.matrix.live is None else view.matrix.rows[view.matrix.live]

    def _keep(self, save: Callable[[], None]) -> None:
        """Write a side file from a reader's replay, if nobody is writing; a disk without room is no error here."""

        def give_up(_: float) -> None:
            raise StoreError("somebody writes")

        if self._held:
            return
        try:
            with file_lock(self.folder / "lock", give_up):
                # What a killed build left may not be on the disk yet: a side file must not outlive what it shows.
                self._database.settle()
                save()
        except (OSError, StoreError):
            return

    def _save(self, *, quiet: bool = False) -> None:
        """Write the side files at the newest generation. ``quiet``: a full disk costs only the next opening's time."""
        try:
            with self._lock("save"), self._follow_lock, self._database.reading() as link:
                view = self._current(link)
                view.matrix.save(self.folder / "vectors.bin", view.generation, view.watermark, self._meta["key"])
                for future in list(self._feeding):
                    self._fed(future)
                words = self._words
                if words is not None and words.generation == view.generation:
                    words.index.save(self.folder / "keyword", view.generation, f"{self._meta['key']}:{view.watermark}")
                self._flush(view)
                self._wrote = False
        except (StoreError, _StaleError):
            if not quiet:
                raise
        except OSError as error:
            if not quiet:
                raise _full(self.folder, error) from error

    # ------------------------------------------------------------ search

    def search(self, query: str, search: SearchOptions = SearchOptions()) -> list[Hit]:
        """The best passages for a query, best first. Raises InputError for a Search that cannot be."""
        return self.search_many([query], search)[0]

    def search_many(self, queries: Sequence[str], search: SearchOptions = SearchOptions()) -> list[list[Hit]]:
        """``search`` for many queries at once: they are embedded together and share one pass over the vectors."""
        import numpy as np

        _check(search)
        if not queries:
            return []
        vectors: NDArray[np.float32] | None = None
        dense = search.mode != "keyword" and (self.dimensions > 0 or search.mode == "dense")
        if dense or (search.diversity is not None and self.dimensions):
            vectors = np.asarray(self.embedder.embed([clean(query) for query in queries]), np.float32)
        for _ in range(20):
            try:
                with self._database.reading() as link:
                    return self._search(link, queries, vectors if dense else None, search)
            except _StaleError:
                continue
        raise StoreError(f"{self.name} changes faster than it can be searched", remedy="try again")

    def nearest(
        self, vectors: NDArray[np.float32], k: int = 10, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        """For each vector (shape (n, dimensions), rows of unit length) the ids of the k nearest passages and their cosines,
        best first. Raises InputError for other dimensions."""
        import numpy as np

        vectors = np.atleast_2d(np.asarray(vectors, np.float32))
        if vectors.shape[1] != self.dimensions:
            raise InputError(
                f"got vectors of {vectors.shape[1]} dimensions, {self.name} has {self.dimensions}",
                remedy=f"embed queries with {self._meta['embedder'] or 'an embedder'}",
            )
        for _ in range(20):
            try:
                with self._database.reading() as link:
                    view = self._current(link)
                    found = self._dense(link, view, vectors, k, where)
                    names = self._database.names(link, sorted({row for rows in found for row, _ in rows}))
                return [[(names[row], score) for row, score in rows if row in names] for rows in found]
            except _StaleError:
                continue
        raise StoreError(f"{self.name} changes faster than it can be searched", remedy="try again")

    def _dense(
        self, link: sqlite3.Connection, view: _View, vectors: NDArray[np.float32], k: int, where: Filter | None
    ) -> list[list[tuple[int, float]]]:
        spec = self._spec(view)
        if spec and self._meta["index"] != "embedded":
            other = self._reachable(link, view, spec)
            if other is not None:
                found = other.search(vectors, k, where)
                return [[(int(id), score) for id, score in rows] for rows in found]
        mask = None if where is None else self._mask(link, view, where).positions
        if spec and self._meta["index"] == "embedded" and k <= 1000:
            graph = self._reachable(link, view, spec)
            wanted = self._sift(graph, view, vectors, k, mask) if graph is not None else None
            if wanted is not None:
                return wanted
        return [
            list(zip(rows.tolist(), scores.tolist(), strict=True))
            for rows, scores in view.matrix.search(vectors, k, mask)
        ]

    def _spec(self, view: _View) -> str:
        """Which other index answers for the vectors; empty: none, the matrix does."""
        if self._meta["index"] != "embedded":
            return str(self._meta["index"])
        return "hnsw" if len(view.matrix) >= GRAPH and self.dimensions and find_spec("usearch") else ""

    def _reachable(self, link: sqlite3.Connection, view: _View, spec: str) -> Index | None:
        """The other index; None while another process holds its files: then the matrix, which is as right and slower."""
        if time.monotonic() < self._shut:
            return None
        try:
            return self._other(link, view, spec)
        except StoreError:
            if "://" in spec:
                raise
            self._shut = time.monotonic() + 5.0
            return None

    def _sift(
        self, graph: Index, view: _View, vectors: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None
    ) -> list[list[tuple[int, float]]] | None:
        """The graph's hits that pass the filter, with exact scores; None where comparing all that pass is the better way."""
        import numpy as np

        asked = k
        if mask is not None:
            passing = int(np.count_nonzero(mask))
            if passing <= GRAPH // 2:
                return None
            asked = min(1000, 3 * k * len(mask) // passing)
        out = []
        for vector, found in zip(vectors, graph.search(vectors, asked), strict=True):
            places, there = view.matrix.positions(np.array([int(id) for id, _ in found], np.int64))
            places = places[there]
            if mask is not None:
                places = places[mask[places]]
                if len(places) < k:
                    return None
            scores = view.matrix.gather(places) @ vector
            order = np.lexsort((places, -scores))[:k]
            out.append(list(zip(view.matrix.rows[places[order]].tolist(), scores[order].tolist(), strict=True)))
        return out

    def _mask(self, link: sqlite3.Connection, view: _View, where: Filter) -> _Mask:
        """What passes the filter; the last 64 filters are remembered until something is written."""
        key = canonical(where)
        held = self._masks.get(key)
        if held is not None and held.generation == view.generation:
            return held
        with self._follow_lock:
            if self._columns is None or len(self._columns) < len(view.matrix):
                self._fill(link, view.matrix)
            assert self._columns is not None
            positions = self._columns.mask(where)[: len(view.matrix)]
            if view.matrix.live is not None:
                positions &= view.matrix.live
            if len(self._masks) >= 64:
                self._masks.clear()
            held = self._masks[key] = _Mask(view.generation, positions)
        return held

    def _fill(self, link: sqlite3.Connection, matrix: Matrix) -> None:
        """Read the metadata of positions that the columns lack."""
        from rung.retrieval.filter import Columns

        columns = self._columns or Columns()
        start = len(columns)
        rows = matrix.rows[start:].tolist()
        if rows:
            known = dict(self._database.metadata(link, rows[0] - 1))
            columns.extend([known.get(row, {}) for row in rows])
        self._columns = columns

    def _search(
        self,
        link: sqlite3.Connection,
        queries: Sequence[str],
        vectors: NDArray[np.float32] | None,
        search: SearchOptions,
    ) -> list[list[Hit]]:
        view = self._current(link)
        several = search.mode == "hybrid" or search.diversity is not None or search.rerank is not None
        depth = max(search.k, search.depth) if several else search.k
        dense: list[list[tuple[int, float]]] = [[] for _ in queries]
        if vectors is not None and search.mode != "keyword":
            dense = self._dense(link, view, vectors, depth, search.where)
        words: list[list[tuple[int, float]]] = [[] for _ in queries]
        index: KeywordIndex | None = None
        if search.mode != "dense":
            index = self._keyword(link, view)
            allowed: frozenset[str] | None = None
            if search.where is not None:
                mask = self._mask(link, view, search.where)
                if mask.ids is None:
                    mask.ids = frozenset(map(str, view.matrix.rows[mask.positions].tolist()))
                allowed = mask.ids
            words = [[(int(id), score) for id, score in index.search(query, depth, allowed)] for query in queries]
            if self._words is None or self._words.generation != view.generation:  # a writer came between
                raise _StaleError
        return [
            self._hits(link, view, query, dense[place], words[place], index, search)
            for place, query in enumerate(queries)
        ]

    def _hits(
        self,
        link: sqlite3.Connection,
        view: _View,
        query: str,
        dense: list[tuple[int, float]],
        words: list[tuple[int, float]],
        index: KeywordIndex | None,
        search: SearchOptions,
    ) -> list[Hit]:
        """Candidates to hits: fuse, rerank, spread, fetch, highlight."""
        parts: dict[int, dict[str, float]] = {}
        for row, score in dense:
            parts.setdefault(row, {})["dense"] = score
        for row, score in words:
            parts.setdefault(row, {})["keyword"] = score
        if search.mode == "hybrid" and self.dimensions:
            order = self._fuse(query, dense, words, index, search)
        else:
            order = dense if search.mode == "dense" else words
        texts: dict[int, Passage] = {}
        if search.rerank is not None:
            order = order[: search.depth]
            texts = self._database.rows(link, [row for row, _ in order])
            order = self._rerank(query, order, texts, parts, index or self._keyword(link, view), search)
        if search.diversity is not None and self.dimensions:
            order = self._spread(view, order, search)
        order = order[: search.k]
        if not texts:
            texts = self._database.rows(link, [row for row, _ in order])
        spans: list[tuple[Span, ...]] = [()] * len(order)
        if search.highlights:
            from rung.retrieval.keyword.highlight import highlight

            spans = highlight(query, [texts[row].text if row in texts else "" for row, _ in order])
        return [
            Hit(texts[row], float(score), parts.get(row, {}), spans[place])
            for place, (row, score) in enumerate(order)
            if row in texts
        ]

    def _fuse(
        self,
        query: str,
        dense: list[tuple[int, float]],
        words: list[tuple[int, float]],
        index: KeywordIndex | None,
        search: SearchOptions,
    ) -> list[tuple[int, float]]:
        from rung.retrieval.rank.fuse import fuse

        reach = index.reach(query) if index is not None else (0.0, 0)
        return fuse(dense, words, search.fusion, search.weight, reach)

    def _rerank(
        self,
        query: str,
        order: list[tuple[int, float]],
        texts: Mapping[int, Passage],
        parts: dict[int, dict[str, float]],
        index: KeywordIndex | None,
        search: SearchOptions,
    ) -> list[tuple[int, float]]:
        from rung.retrieval.rank.rerank import Retrieved, open_reranker

        assert search.rerank is not None
        opened = self._reranker  # another thread may ask for another one meanwhile
        if opened is None or opened[0] != search.rerank:
            opened = self._reranker = search.rerank, open_reranker(search.rerank)
        held = [(row, score) for row, score in order if row in texts]
        candidates = [Retrieved(texts[row].text, score, dict(parts.get(row, {}))) for row, score in held]
        scores = opened[1].scores(query, candidates, index.idf(query) if index is not None else {})
        for (row, _), score in zip(held, scores, strict=True):
            parts.setdefault(row, {})["rerank"] = score
        found = [(row, score) for (row, _), score in zip(held, scores, strict=True)]
        return sorted(found, key=lambda item: -item[1])

    def _spread(self, view: _View, order: list[tuple[int, float]], search: SearchOptions) -> list[tuple[int, float]]:
        import numpy as np

        from rung.retrieval.rank.diversity import spread

        places, found = view.matrix.positions([row for row, _ in order])
        if not found.all() or not order:
            return order
        assert search.diversity is not None
        scores = np.array([score for _, score in order], np.float32)
        chosen = spread(view.matrix.gather(places), scores, search.k, search.diversity)
        return [order[place] for place in chosen]

    # ------------------------------------------------------------ read

    def document(self, id: str) -> Document | None:
        """The document with its whole text; None when it is not there."""
        with self._database.reading() as link:
            return self._database.document(link, id)

    def passages(self, ids: Sequence[str]) -> list[Passage | None]:
        """The passages of these ids, None for one that is not there."""
        with self._database.reading() as link:
            found = self._database.passages(link, ids)
        return [found.get(id) for id in ids]

    def __len__(self) -> int:
        """Passages."""
        with self._database.reading() as link:
            return self._database.count(link)[1]

    def stats(self) -> Stats:
        with self._database.reading() as link:
            documents, passages = self._database.count(link)
            stored = self._database.stored(link) if self.dimensions else passages
            generation = self._database.generation(link)
        files: dict[str, int] = {}
        for path in sorted(self.folder.rglob("*")):
            try:
                if path.is_file():
                    files[path.relative_to(self.folder).as_posix()] = path.stat().st_size
            except OSError:  # it went while we looked
                continue
        return Stats(
            documents=documents,
            passages=passages,
            dead=stored - passages,
            generation=generation,
            embedder=self._meta["embedder"],
            dimensions=self.dimensions,
            chunker=self._meta["chunker"],
            index=self._meta["index"],
            files=files,
        )

    # ------------------------------------------------------------ build

    def build(
        self,
        sources: str | Path | Iterable[str | Path | Document],
        progress: Callable[[Progress], None] = lambda _: None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        prune: bool = True,
        on: str = "local",
    ) -> Built:
        """Take in files and folders (or Documents): what is new or changed is cut, embedded and written, the rest left alone.

        Every transaction holds whole documents, so a killed build goes on where it was: run it again. With ``prune``,
        documents of files that are gone from the given folders are deleted. What cannot be read is in ``failures``.
        ``include`` and ``exclude`` are patterns for files (see documents.scan). A power cut during a build may cost its last
        transactions; once it has returned, everything is on the disk. ``on`` ray: files are read, cut and embedded by Ray Data
        (see ray.py), with the same result; all passages of an edited document are embedded again.

        Raises InputError for a path that does not exist, StoreError when another process writes or the disk is full (what
        was written before stays).
        """
        if on not in ("local", "ray"):
            raise InputError(f"got on {on!r}, expected local or ray", remedy="for instance: --on ray")
        given: list[str | Path | Document] = [sources] if isinstance(sources, str | Path) else []
        stream: Iterator[str | Path | Document] = iter(given or sources)  # type: ignore[arg-type]
        started = time.perf_counter()
        with self._lock("build"):
            _write(
                self.folder / "writer.json",
                json.dumps({"process": os.getpid(), "what": "build", "since": time.time()}),
            )
            from concurrent.futures import ThreadPoolExecutor

            self._feeder = ThreadPoolExecutor(1, "rung-words")
            try:
                self._prepare()
                work = _Work(self, progress, started)
                first = next(stream, None)
                if isinstance(first, Document):
                    self._build_documents(chain([first], stream), work)
                elif first is not None:
                    self._build_files(list(chain([first], stream)), work, include, exclude, prune, on)
                work.flush()
                progress(Progress("write", work.done, work.done, "writing the side files"))
                self._database.sync()
                if self._wrote:
                    self._prepare()
                    self._save()
                self._release()
            finally:
                self._feeder.shutdown()
                if any(future.exception() for future in self._feeding):
                    self._words = None
                self._feeder, self._feeding = None, []
                (self.folder / "writer.json").unlink(missing_ok=True)
        return work.result()

    def _release(self) -> None:
        """Let go of another index's files, so that other processes may follow; the next search opens them to read."""
        with self._follow_lock:
            if self._outer is not None:
                self._outer.index.close()
                self._outer = None

    def _prepare(self) -> None:
        """Open what a build feeds, so that nothing is read back from the disk."""
        with self._follow_lock, self._database.reading() as link:
            view = self._current(link)
            self._keyword(link, view)
            spec = self._spec(view)
            if spec:
                self._other(link, view, spec)

    def _build_documents(self, documents: Iterable[Any], work: _Work) -> None:
        for document in documents:
            if not isinstance(document, Document):
                raise InputError(f"got {document!r} among Documents", remedy="give either paths or Documents")
            work.take(document)

    def _build_files(
        self,
        paths: list[Any],
        work: _Work,
        include: Sequence[str],
        exclude: Sequence[str],
        prune: bool,
        on: str,
    ) -> None:
        from rung import documents

        troubles: list[Problem] = []
        roots = dict(self._meta.get("roots", {}))
        found = documents.scan(paths, include=include, exclude=exclude, troubles=troubles, roots=roots)
        if roots != self._meta.get("roots"):
            with self._database.writing() as link:
                self._database.set(link, "roots", roots)
            self._meta["roots"] = roots
        work.total = sum(source.size for source in found)
        with self._database.reading() as link:
            stored: dict[str, list[StoredDocument]] = {}
            for known in self._database.sources(link):
                stored.setdefault(known.source, []).append(known)
        fresh: list[tuple[Source, list[StoredDocument]]] = []
        for source in found:
            old = stored.get(source.id, [])
            if old and all(known.stamp == _stamp(source) for known in old):
                work.skip(len(old), source.size)
            else:
                fresh.append((source, old))
        seen: set[str] = set()
        for part in self._parts(fresh, on):
            source, old = fresh[part.place]
            for document in part.documents:
                seen.add(document.id)
                work.take(document, source.id, _stamp(source), part.ready.get(document.id))
            if not part.ended:
                continue
            troubles += part.troubles
            work.size += source.size
            # Nothing could be read of a file that was read before: what is stored stays, the trouble says so.
            lost = not seen and any(problem.level == "error" and problem.file == source.id for problem in part.troubles)
            if not lost:
                work.drop([known.id for known in old if known.id not in seen])
            seen = set()
        if prune:
            there = {source.id for source in found}
            given = documents.under(paths, roots)
            for name, known_ones in stored.items():
                if name not in there and given(name):
                    work.drop([known.id for known in known_ones])
        for trouble in troubles:
            said = trouble.message if trouble.line is None else f"line {trouble.line}: {trouble.message}"
            (work.failures if trouble.level == "error" else work.notes).append((trouble.file, said))

    def _parts(self, sources: Sequence[tuple[Source, list[StoredDocument]]], on: str) -> Iterator[Part]:
        """The documents of the sources, in order; on Ray with their passages and vectors."""
        from rung import documents
        from rung.retrieval.collection.ray import Part, Tools, prepare

        if on == "ray":
            cut = self._chunker if callable(self._chunker) else None
            embedder = self.embedder if self.dimensions else None
            tools = Tools(
                self._meta["chunker"],
                embedder.name if embedder else "",
                _fingerprint(embedder) if embedder else "",
                cut,
            )
            known = [(source, {item.id: item.hash for item in old}) for source, old in sources]
            yield from prepare(known, tools)
            return
        for place, (source, _) in enumerate(sources):
            troubles: list[Problem] = []
            for document in documents.read(source, troubles):
                yield Part(place, (document,))
            yield Part(place, (), troubles=troubles, ended=True)

    # ------------------------------------------------------------ keep in order

    def compact(self) -> None:
        """Give back the room of deleted passages: merge the blocks of vectors, shrink the file, write the side files anew."""
        with self._lock("compact"), self._follow_lock:
            self._prepare()
            with self._database.writing() as link:
                generation = self._database.rewrite(link, self.dimensions)
            self._database.vacuum()
            self._view, self._words, self._columns, self._masks = None, None, None, {}
            if self._outer is not None:  # it has followed, and its rows are the same
                self._outer = replace(self._outer, generation=generation)
            self._prepare()
            self._save()

    def verify(self) -> Verification:
        """Check everything: the pages of the truth, each document against its hash, each passage's place and vector, and each
        derived part against the truth. Derived parts that are wrong are made again."""
        damage: list[str] = []
        repaired: list[str] = []
        with self._lock("verify"), self._follow_lock:
            with self._database.reading() as link:
                damage += self._database.check(link)
                damage += self._check_documents(link)
                if not damage:
                    repaired += self._check_derived(link)
            if repaired:
                for path in (
                    self.folder / "vectors.bin",
                    self.folder / "keyword" / "keyword.npz",
                    self.folder / "index.json",
                ):
                    path.unlink(missing_ok=True)
                self._view, self._words, self._columns, self._masks = None, None, None, {}
                if self._outer is not None:
                    self._outer = _Outer(-1, 0, self._outer.index)
                self._prepare()
                self._save()
        return Verification(tuple(damage), tuple(repaired))

    def _check_documents(self, link: sqlite3.Connection) -> list[str]:
        import numpy as np

        out: list[str] = []
        rows: list[int] = []
        for document, hashed, passages in self._database.each(link):
            if content_hash(document) != hashed:
                out.append(f"document {document.id!r} is not what was written")
            out += [
                f"row {row} of document {document.id!r}: characters {start} to {stop} of {len(document.text)}"
                for row, start, stop in passages
                if not 0 <= start < stop <= len(document.text)
            ]
            rows += [row for row, _, _ in passages]
        if self.dimensions:
            try:
                held = [numbers for numbers, _ in self._database.vectors(link, 0, self.dimensions)]
            except StoreError as error:
                return [*out, error.message]
            lacking = np.setdiff1d(np.array(rows, np.int64), np.concatenate(held) if held else np.empty(0, np.int64))
            if len(lacking):
                out.append(f"{len(lacking)} passages have no vector, the first is row {int(lacking[0])}")
        return out

    def _check_derived(self, link: sqlite3.Connection) -> list[str]:
        import numpy as np

        from rung.retrieval.index.snapshot import Matrix
        from rung.retrieval.keyword.keyword import KeywordIndex

        out: list[str] = []
        generation = self._database.generation(link)
        path = self.folder / "vectors.bin"
        if path.exists() and Matrix.load(path, self.dimensions, self._meta["key"]) is None:
            out.append("vectors.bin: checksum")
        try:
            if (self.folder / "keyword" / "keyword.npz").exists():
                KeywordIndex.open(self.folder / "keyword")
        except Exception as error:  # as in _keyword
            out.append(f"keyword: {error}")
        try:
            view = self._current(link)
            truth = np.array(self._database.numbers(link, 0), np.int64)
            if view.generation != generation or not np.array_equal(self._alive(view), truth):
                out.append("vectors.bin: its rows are not those of the passages")
            elif self.dimensions:
                for rows, vectors in self._database.vectors(link, 0, self.dimensions):
                    places, found = view.matrix.positions(rows)
                    if not np.array_equal(view.matrix.gather(places[found]), vectors[found]):
                        out.append("vectors.bin: its vectors are not those stored")
                        break
            index = self._keyword(link, view)
            if len(index) != len(truth) or any(str(row) not in index for row in truth.tolist()):
                out.append("keyword: its texts are not those of the passages")
            spec = self._spec(view)
            if spec and len(self._other(link, view, spec)) != len(truth):
                out.append(
                    f"{self._meta['index']}: holds {len(self._other(link, view, spec))} rows, expected {len(truth)}"
                )
        except _StaleError:
            out.append("the derived parts are ahead of the truth")
        return out


@dataclass
class _Work:
    """A running build: documents wait here until there are enough for one transaction."""

    collection: Collection
    progress: Callable[[Progress], None]
    started: float
    total: int | None = None
    size: int = 0
    done: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    _built: Built = field(default_factory=Built)
    _waiting: list[Document] = field(default_factory=list)
    _stamps: dict[str, tuple[str, str]] = field(default_factory=dict)
    _ready: dict[str, Ready] = field(default_factory=dict)
    _drops: list[str] = field(default_factory=list)
    _held: int = 0
    _seen: set[str] = field(default_factory=set)

    def take(self, document: Document, source: str = "", stamp: str = "", ready: Ready | None = None) -> None:
        if document.id in self._seen:
            self.failures.append(
                (source or document.id, f"document id {document.id!r} is there twice; the first is kept")
            )
            return
        self._seen.add(document.id)
        self._waiting.append(document)
        if source:
            self._stamps[document.id] = (source, stamp)
        if ready is not None:
            self._ready[document.id] = ready
        self._held += len(document.text)
        if len(self._waiting) >= _BATCH_DOCUMENTS or self._held >= _BATCH_CHARACTERS:
            self.flush()

    def skip(self, documents: int, size: int) -> None:
        self.done += documents
        self.size += size
        self._built = replace(self._built, unchanged=self._built.unchanged + documents)

    def drop(self, ids: Sequence[str]) -> None:
        self._drops += ids
        if len(self._drops) >= _BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._drops:
            gone = self.collection._remove(self._drops, full=False)
            self._built = replace(self._built, deleted=self._built.deleted + gone)
            self._drops = []
        if self._waiting:
            put = self.collection._put(self._waiting, full=False, stamps=self._stamps, ready=self._ready)
            self.done += len(self._waiting)
            built = self._built
            self._built = replace(
                built,
                added=built.added + put.added,
                updated=built.updated + put.updated,
                unchanged=built.unchanged + put.unchanged,
                passages=built.passages + put.passages,
                embedded=built.embedded + put.embedded,
            )
            self._waiting, self._stamps, self._ready, self._held = [], {}, {}, 0
        seconds = max(1e-6, time.perf_counter() - self.started)
        note = f"{self.done / seconds:,.1f} documents/s, {self._built.passages / seconds:,.0f} passages/s"
        total = None
        if self.total and self.size:
            total = max(self.done, round(self.done * self.total / self.size))
            note += f", {seconds * max(0.0, self.total / self.size - 1):,.0f} s left"
        self.progress(Progress("build", self.done, total, note))

    def result(self) -> Built:
        seconds = time.perf_counter() - self.started
        return replace(self._built, seconds=seconds, failures=tuple(self.failures), notes=tuple(self.notes))


def _stamp(source: Source) -> str:
    """What tells that a file was not changed, without opening it."""
    return f"{source.size}:{source.mtime_ns}"


def _spell(chunker: Chunker | Splitter | str | None, embedder: Embedder | None) -> str:
    """The text form of a chunker, as the collection records it."""
    from rung.retrieval import chunk

    if isinstance(chunker, str) and chunker.startswith("semantic"):
        return chunker
    if chunker is None or isinstance(chunker, str):
        return str(chunk.chunker(chunker or chunk.DEFAULT, embedder))
    if callable(chunker):
        return f"function {getattr(chunker, '__name__', type(chunker).__name__)}"
    return str(chunker)


def _check(search: SearchOptions) -> None:
    if search.mode not in get_args(Mode):
        raise InputError(f"unknown mode {search.mode!r}", remedy=f"one of {', '.join(get_args(Mode))}")
    if search.fusion not in get_args(Fusion):
        raise InputError(f"unknown fusion {search.fusion!r}", remedy=f"one of {', '.join(get_args(Fusion))}")
    if search.k < 1 or search.depth < 1:
        raise InputError(f"got k {search.k} and depth {search.depth}, expected at least 1", remedy="leave them out")
    for name, value in (("weight", search.weight), ("diversity", search.diversity)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"got {name} {value}, expected 0 to 1", remedy="leave it out")


def _write(path: Path, text: str) -> None:
    """A small file, whole or not at all. Raises StoreError."""
    try:
        with atomic_write(path, durable=False) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _full(path.parent, error) from error


def locate(name: str, home: Path) -> Path:
    """The folder of the collection of that name under ``home``. Raises InputError for a name that could not be a folder's."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"got the name {name!r}, expected letters, digits, dots, dashes and underscores",
            remedy="name it for instance handbook",
        )
    return home / "indexes" / name


def names(home: Path) -> list[str]:
    """The collections under ``home``."""
    return sorted(path.parent.name for path in (home / "indexes").glob("*/collection.db"))


def find(name: str, home: Path) -> Path:
    """The folder of a collection that is there. Raises InputError naming the nearest ones when it is not."""
    folder = locate(name, home)
    if not (folder / "collection.db").is_file():
        there = names(home)
        near = difflib.get_close_matches(name, there, n=1)
        raise InputError(
            f"there is no collection {name!r} in {home / 'indexes'}",
            remedy=f"did you mean {near[0]}?"
            if near
            else f"there are: {', '.join(there)}"
            if there
            else f"make it: rung index build DOCS... --to {name}",
        )
    return folder


def _embedder(name: str, resources: Resources | None) -> Embedder:
    if resources is None:
        from rung.models import Pool

        resources = Pool()
    return resources.embedder(name)


def _fingerprint(embedder: Embedder) -> str:
    return str(getattr(embedder, "fingerprint", embedder.name))


def cleaned(document: Document) -> Document:
    """The document as it is stored: what is no Unicode text is replaced."""
    return replace(document, id=clean(document.id), text=clean(document.text))


def content_hash(document: Document) -> bytes:
    """Content hash of a document: its text and metadata."""
    hashed = hashlib.blake2b(document.text.encode(), digest_size=16)
    metadata = json.dumps(document.metadata, sort_keys=True, default=str) if document.metadata else ""
    hashed.update(b"\0" + metadata.encode("utf-8", "replace"))
    return hashed.digest()


def _full(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write in {folder}: {error.strerror or error}; what was committed before is whole",
        remedy="free some space (or name a folder you may write to) and run the same again",
    )
