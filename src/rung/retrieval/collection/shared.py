"""Collections that are opened once and read by many threads, while other processes build them; one that was dropped
and built again under its name is opened again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Hit
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import FILE, find
from rung.retrieval.rank.options import SearchOptions

logger = logging.getLogger("rung.retrieval")
_PLAIN = SearchOptions()


@dataclass(slots=True)
class _Held:
    """An open collection, the file that it was opened from, and how many searches are in it."""

    collection: Collection
    file: tuple[int, int] | None
    users: int = 0
    retired: bool = False


class Collections:
    """Collections by name. Threads may use them at once."""

    def __init__(self, folders: Mapping[str, Path], resources: Resources | None = None) -> None:
        """Opens them all. Raises InputError or StoreError for one that is not there, damaged, or made by an embedder
        that is another one by now."""
        self._folders = dict(folders)
        self._resources = resources
        self._guard = threading.Lock()
        self._held: dict[str, _Held] = {}
        try:
            for name in self._folders:
                self._held[name] = self._open(name)
        except BaseException:
            self.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._folders)

    def _open(self, name: str) -> _Held:
        folder = self._folders[name]
        file = _identity(folder)
        collection = Collection.open(folder, resources=self._resources)
        try:
            if collection.dimensions:
                _ = collection.embedder  # now, not at the first search
        except BaseException:
            collection.close()
            raise
        return _Held(collection, file)

    @contextmanager
    def use(self, name: str) -> Iterator[Collection]:
        """The collection of that name, as it lies on the disk now. Raises InputError or StoreError while it is not
        there."""
        with self._guard:
            held = self._held.get(name)
            if held is None or held.file != _identity(self._folders[name]):
                if held is not None:
                    self._retire(self._held.pop(name))
                held = self._held[name] = self._open(name)
            held.users += 1
        try:
            yield held.collection
        finally:
            with self._guard:
                held.users -= 1
                if held.retired and not held.users:
                    held.collection.close()

    def _retire(self, held: _Held) -> None:
        held.retired = True
        if not held.users:
            held.collection.close()

    def close(self) -> None:
        with self._guard:
            for held in self._held.values():
                self._retire(held)
            self._held.clear()

    def try_out(self, name: str) -> None:
        """One search, so that the first caller does not wait for files to be read."""
        with self.use(name) as collection:
            collection.search("a", SearchOptions(k=1))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which file the truth is; None: there is none. One that is open keeps its number, so another under its name has
    another."""
    try:
        found = (folder / FILE).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class NamedCollection:
    """A collection under the home folder as what a program answers from: the program names it, and it is not part of
    it."""

    def __init__(self, name: str, home: Path, resources: Resources | None = None) -> None:
        """Raises InputError when there is none of that name."""
        self.name = name
        self._shared = Collections({name: find(name, home)}, resources)

    def search_many(self, queries: Sequence[str], search: SearchOptions = _PLAIN) -> list[list[Hit]]:
        """The best passages for each query (see Collection.search_many)."""
        with self._shared.use(self.name) as collection:
            return collection.search_many(queries, search)

    def use(self) -> AbstractContextManager[Collection]:
        """The collection itself, during a ``with`` block."""
        return self._shared.use(self.name)

    def spec(self) -> dict[str, Any]:
        """What a program records of it: its name, what it was made with, and the generation that it has now."""
        with self._shared.use(self.name) as collection:
            stats, key = collection.stats(), collection.origin.meta["key"]
        made = {"embedder": stats.embedder, "chunker": stats.chunker}
        return {"name": self.name, **made, "key": key, "generation": stats.generation, "documents": stats.documents}

    @classmethod
    def load(cls, spec: Mapping[str, Any], home: Path, resources: Resources) -> NamedCollection:
        """The collection that ``spec`` names. Raises InputError that says what is missing when it is not there, or
        was made with another embedder or chunker; one that has changed since is told in the log."""
        name, made = spec.get("name"), {what: spec.get(what) for what in ("embedder", "chunker")}
        if not isinstance(name, str) or not all(isinstance(value, str) for value in made.values()):
            raise InputError("the program names no collection", remedy="export the program again")
        build = f"rung index build DOCS --to {name} --embedder {made['embedder'] or 'none'} --chunk {made['chunker']}"
        try:
            found = cls(name, home, resources)
        except InputError as error:
            raise InputError(
                f"the program answers from the collection {name!r} ({spec.get('documents')} documents,"
                f" generation {spec.get('generation')}), which cannot be opened: {error.message}",
                remedy=f"copy its folder to {home / 'indexes' / name}, or build it: {build}",
                code="collection-missing",
            ) from None
        now = found.spec()
        for what, value in made.items():
            if now[what] != value:
                raise InputError(
                    f"the program was made with the {what} {value or 'none'}, the collection {name} with {now[what] or 'none'}",
                    remedy=f"build it with the program's: {build}; or export the program again",
                    code="collection-differs",
                )
        if (now["key"], now["generation"]) != (spec.get("key"), spec.get("generation")):
            logger.warning(
                "the collection %s has changed since the program was exported (generation %s, now %s): answers may differ",
                name,
                spec.get("generation"),
                now["generation"],
            )
        return found
