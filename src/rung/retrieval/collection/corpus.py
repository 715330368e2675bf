"""A task's passages as something to search: a collection that lives as long as the program it belongs to."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rung.core.protocols import Embedder
from rung.core.types import Document, Hit
from rung.retrieval.chunk import DEFAULT, chunker
from rung.retrieval.collection.collection import Collection
from rung.retrieval.rank.options import SearchOptions

_PLAIN = SearchOptions()


class Searcher(Protocol):
    """What answers are drawn from: a Collection, or a Corpus."""

    def search_many(self, queries: Sequence[str], search: SearchOptions = ...) -> list[list[Hit]]: ...


class PassageCorpus:
    """Passages by id, cut by ``chunk`` where they are long, indexed on first use in a folder of their own that goes
    with them.

    ``embedder`` None: keyword search only.
    """

    def __init__(self, passages: Mapping[str, str], embedder: Embedder | None = None, chunk: str = DEFAULT) -> None:
        self.passages, self.embedder, self.chunk = dict(passages), embedder, chunk
        chunker(chunk, embedder)  # a wrong one is told at once
        self._collection: Collection | None = None
        self._lock = threading.Lock()

    def search_many(self, queries: Sequence[str], search: SearchOptions = _PLAIN) -> list[list[Hit]]:
        """The best passages for each query (see Collection.search_many)."""
        return self._open().search_many(queries, search)

    def _open(self) -> Collection:
        with self._lock:
            if self._collection is None:
                folder = tempfile.mkdtemp(prefix="rung-corpus-")
                found = Collection.create(Path(folder) / "corpus", embedder=self.embedder, chunker=self.chunk)
                found.add(Document(id, text) for id, text in self.passages.items())
                weakref.finalize(self, _drop, found, folder)
                self._collection = found
        return self._collection


def _drop(collection: Collection, folder: str) -> None:
    try:
        collection.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
