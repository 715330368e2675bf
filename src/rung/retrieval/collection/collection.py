"""The collection: the thing a user names, builds from documents, and searches.

One folder. ``collection.db`` is the truth (see database.py); ``vectors.bin`` and ``keyword/`` are derived from it (see
derived.py). So a killed build, a full disk or a damaged side file costs time, never a wrong answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rung.core.errors import InputError, StoreError
from rung.core.protocols import Embedder, Filter, Resources
from rung.core.types import Document, Hit, Passage, Progress
from rung.retrieval.chunk import Chunker
from rung.retrieval.collection.database.database import Database
from rung.retrieval.collection.database.snapshot import Snapshot, clean
from rung.retrieval.collection.database.stats import Stats, measure
from rung.retrieval.collection.database.verify import CollectionCheck, check_all
from rung.retrieval.collection.derived.derived import StaleError
from rung.retrieval.collection.derived.parts import CollectionView, Parts
from rung.retrieval.collection.folders import FILE
from rung.retrieval.collection.ingest.build import BuildOptions, build
from rung.retrieval.collection.ingest.write import Built, Given, check_new, put, remove
from rung.retrieval.collection.ingest.writer import Writer, no_room
from rung.retrieval.collection.origin import Origin, Splitter, check_chunker, open_embedder, record
from rung.retrieval.rank import pipeline
from rung.retrieval.rank.options import SearchOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")
_TRIES = 20
_PLAIN, _ALL = SearchOptions(), BuildOptions()


class Collection:
    """Documents, their passages and vectors, and search over them. Open one with ``create`` or ``open``.

    Threads may search while one writes; each search sees one generation. Processes may search while one writes; a
    second writer gets a StoreError.
    """

    def __init__(self, folder: Path, database: Database, origin: Origin, *, wait: float) -> None:
        self.folder, self.database, self.origin = folder, database, origin
        self._writer = Writer(folder, wait)
        # What a killed build left may not be on the disk yet: a side file must not outlive what it shows.
        self.parts = Parts(folder, origin.meta, lambda part: self._writer.offer(database.settle, part.save))
        self.wrote = False

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
        if embedder is None and index != "embedded":
            raise InputError(
                f"got the index {index} and no embedder: without vectors it would be empty",
                remedy="leave --embedder none or --backend out",
            )
        opened = open_embedder(embedder, resources) if isinstance(embedder, str) else embedder
        Database.place(Path(folder) / FILE, record(opened, chunker, index))
        splitter = chunker if not isinstance(chunker, str) else None
        return cls.open(folder, embedder=opened, chunker=splitter, resources=resources, wait=wait)

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

        ``wait`` is how many seconds a write waits for another writer before it gives up. Raises InputError when there
        is none, or when another embedder or chunker is given; StoreError when it is damaged or newer than this program.
        """
        folder = Path(folder)
        database = Database(folder / FILE)
        try:
            meta = database.described()
            check_chunker(meta, chunker)
            splitter = None if isinstance(chunker, str) else chunker
            made = cls(folder, database, Origin(folder.name, meta, splitter, resources), wait=wait)
            if embedder is not None:
                made.origin.use(open_embedder(embedder, resources) if isinstance(embedder, str) else embedder)
            return made
        except BaseException:
            database.close()
            raise

    @classmethod
    def drop(cls, folder: str | Path, *, leave: bool = False) -> None:
        """Delete the collection in ``folder``. ``leave``: what it has put into another index stays there.

        Raises InputError when there is none, StoreError when somebody writes it or its index cannot be reached.
        """
        with cls.open(folder) as collection, collection._writer.lock():
            with collection.database.reading() as snapshot:
                last = snapshot.last
            if not collection.parts.embedded and last and not leave:
                collection.parts.index.abandon(collection.name, last)
        shutil.rmtree(folder)

    def close(self) -> None:
        """Bring the side files up to date if this process wrote, and let go of everything."""
        try:
            if self.wrote:
                with suppress(StoreError, StaleError):  # it costs only the next opening's time
                    self._save()
        finally:
            self.parts.close()
            self.database.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def dimensions(self) -> int:
        """Of the vectors; 0: the collection has none."""
        return self.origin.dimensions

    @property
    def embedder(self) -> Embedder:
        """The embedder the vectors were made with. Raises InputError when it is another one by now, or there is
        none."""
        return self.origin.embedder

    def add(self, documents: Iterable[Document]) -> Built:
        """Add new documents, durably. Raises InputError when an id is there already or twice in the call; then none
        is added."""
        items = list(documents)
        with self._writer.lock():
            check_new(self, items)
            return put(self, Given(items))

    def upsert(self, documents: Iterable[Document]) -> Built:
        """Add documents or replace those of the same id, durably and all or none. An unchanged one is left as it is."""
        with self._writer.lock():
            return put(self, Given(list(documents)))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents that are there, durably; how many were."""
        with self._writer.lock():
            return remove(self, list(ids))

    def build(
        self,
        sources: str | Path | Iterable[str | Path | Document],
        progress: Callable[[Progress], None] = lambda _: None,
        options: BuildOptions = _ALL,
    ) -> Built:
        """Take in files and folders (or Documents): what is new or changed is cut, embedded and written, the rest left
        alone.

        Every transaction holds whole documents, so a killed build goes on where it was: run it again. What cannot be
        read or taken in is in ``problems``. A power cut may cost the last transactions; once it has returned, all is on
        the disk.

        Raises InputError for a path that does not exist, StoreError when another process writes or the disk is full
        (what was written before stays).
        """
        with self._writer.lock(), self._writer.said("build"):
            # An index that cannot be opened is told before anything is written.
            with self.database.reading() as snapshot:
                self.parts.follow(snapshot)
            built = build(self, [sources] if isinstance(sources, str | Path) else sources, progress, options)
            self.database.sync()
            if self.wrote:
                self._save()
            self.parts.index.close()  # its files, so that other processes may follow
        return built

    def search(self, query: str, search: SearchOptions = _PLAIN) -> list[Hit]:
        """The best passages for a query, best first. Raises InputError for options that cannot be."""
        return self.search_many([query], search)[0]

    def search_many(self, queries: Sequence[str], search: SearchOptions = _PLAIN) -> list[list[Hit]]:
        """``search`` for many queries at once: they are embedded together and share one pass over the vectors."""
        search.check()
        if not queries:
            return []
        vectors: NDArray[np.float32] | None = None
        if search.mode == "dense" or (search.mode == "hybrid" and self.dimensions):
            vectors = np.asarray(self.embedder.embed([clean(query) for query in queries]), np.float32)
        return self._viewed(lambda view: pipeline.run(view, queries, vectors, search))

    def nearest(
        self, vectors: NDArray[np.float32], k: int = 10, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        """For each vector (shape (n, dimensions), rows of unit length) the ids of the k nearest passages and their
        cosines, best first. Raises InputError for other dimensions."""
        vectors = np.atleast_2d(np.asarray(vectors, np.float32))
        if vectors.shape[1] != self.dimensions:
            raise InputError(
                f"got vectors of {vectors.shape[1]} dimensions, {self.name} has {self.dimensions}",
                remedy=f"embed queries with {self.embedder.name or 'an embedder'}",
            )
        return self._viewed(lambda view: [view.named(ranking) for ranking in view.dense(vectors, k, where)])

    def _viewed(self, work: Callable[[CollectionView], T]) -> T:
        """``work`` over the parts at one generation; again with a newer one where a writer was quicker."""
        for _ in range(_TRIES):
            try:
                with self.database.reading() as snapshot:
                    return work(self.view(snapshot))
            except StaleError:
                continue
        raise StoreError(f"{self.name} changes faster than it can be searched", remedy="try again")

    def view(self, snapshot: Snapshot) -> CollectionView:
        """The derived parts at the snapshot's generation. Raises StaleError when they are ahead of it."""
        return CollectionView(self.parts, snapshot)

    def document(self, id: str) -> Document | None:
        """The document with its whole text; None when it is not there."""
        with self.database.reading() as snapshot:
            return snapshot.document(id)

    def passages(self, ids: Sequence[str]) -> list[Passage | None]:
        """The passages of these ids, None for one that is not there."""
        with self.database.reading() as snapshot:
            found = snapshot.passages(ids)
        return [found.get(id) for id in ids]

    def __len__(self) -> int:
        """Passages."""
        with self.database.reading() as snapshot:
            return snapshot.count()[1]

    def stats(self) -> Stats:
        with self.database.reading() as snapshot:
            return measure(snapshot, self.origin.meta, self.folder)

    def compact(self) -> None:
        """Give back the room of deleted passages: merge the blocks of vectors, shrink the file, write the side files
        again."""
        with self._writer.lock(), self.parts.lock:
            with self.database.reading() as snapshot:
                self.parts.follow(snapshot)
            with self.database.writing() as transaction:
                generation = transaction.rewrite(self.dimensions)
            self.database.vacuum()
            self.parts.move(generation)
            self._save()

    def verify(self) -> CollectionCheck:
        """Check everything: the pages of the truth, each document against its hash, each passage's place and vector,
        and each derived part against the truth. Derived parts that are wrong are made again."""
        with self._writer.lock(), self.parts.lock:
            with self.database.reading() as snapshot:
                found = check_all(self.parts, snapshot, self.dimensions)
            if found.repaired:
                self.parts.forget()
                self._save()
        return found

    def _save(self) -> None:
        """Write the side files at the newest generation. Raises StoreError."""
        try:
            with self._writer.lock(), self.database.reading() as snapshot, self.parts.lock:
                self.parts.follow(snapshot)
                self.parts.save()
                self.wrote = False
        except OSError as error:
            raise no_room(self.folder, error) from error
