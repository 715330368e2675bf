"""A file to be read, what went wrong with it, and what every reader of a format does."""

from __future__ import annotations

import datetime
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from rung.core import registry
from rung.core.errors import InputError, MissingExtra
from rung.core.types import Document

LIMIT = 1 << 30
"""Bytes that a compressed file may unpack to."""
ITEMS = 1000
"""Items of a list in the metadata at most."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was found. ``id`` is its name among the documents (the scanned folder's name and the path in it), ``kind``
    the registered reader that reads it, ``size`` its bytes, ``mtime_ns`` when it was last changed."""

    path: Path
    kind: str
    size: int
    mtime_ns: int
    id: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that could not be read as it stands. ``lost``: no document came of it; otherwise it was read in a way that
    somebody should know about (a guessed encoding). ``line`` is 1-based."""

    path: str
    message: str
    line: int | None = None
    lost: bool = True

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


@runtime_checkable
class Reader(Protocol):
    """Reads one format. ``suffixes`` are lower case and begin with a dot. ``read`` yields the file's documents, adds what it
    had to leave out to ``troubles``, and raises InputError when nothing of the file can be read."""

    @property
    def suffixes(self) -> tuple[str, ...]: ...
    def read(self, source: Source, troubles: list[Trouble]) -> Iterator[Document]: ...


@cache
def reader(kind: str) -> Reader:
    """The registered reader of that name. Raises InputError for an unknown one."""
    return cast(Reader, registry.load("reader", kind))


@cache
def suffixes() -> Mapping[str, str]:
    """Every known suffix and the reader that it means."""
    return {suffix: kind for kind in registry.table("reader") for suffix in reader(kind).suffixes}


def kind_of(path: Path) -> str | None:
    """The reader for a file of this name; None when no reader knows it. ``.gz`` behind a known suffix is unpacked."""
    name = path.name.lower()
    known = suffixes()
    for cut in (name, name.removesuffix(".gz")):
        if (kind := known.get(Path(cut).suffix)) is not None:
            return kind
    return None


def read(source: Source, troubles: list[Trouble] | None = None) -> Iterator[Document]:
    """The documents of a source, in the file's order; ids begin with the source's id and are unique within it.

    What cannot be read is added to ``troubles`` and the rest goes on; without that list, the first thing that is lost is
    raised as InputError. A missing optional package is always raised (MissingExtra): it is not the file's fault.
    """
    heard: list[Trouble] = [] if troubles is None else troubles
    done = len(heard)
    taken: set[str] = set()
    try:
        for document in reader(source.kind).read(source, heard):
            if document.id in taken:
                heard.append(
                    Trouble(
                        source.id, f"the id {document.id[len(source.id) + 1 :]!r} is there twice; the first is kept"
                    )
                )
            elif not document.text or document.text.isspace():
                heard.append(Trouble(source.id, "holds no text"))
            else:
                taken.add(document.id)
                metadata = {"kind": source.kind, **document.metadata}
                yield replace(document, metadata=metadata)
            if troubles is None:
                done = _complain(heard, done, source)
    except MissingExtra:
        raise
    except InputError as error:
        heard.append(Trouble(source.id, error.message))
    except (EOFError, zlib.error) as error:
        heard.append(Trouble(source.id, f"is not a whole gzip file: {error}"))
    except OSError as error:
        heard.append(Trouble(source.id, f"cannot be read: {error.strerror or error}"))
    if troubles is None:
        _complain(heard, done, source)


def _complain(heard: list[Trouble], done: int, source: Source) -> int:
    for trouble in heard[done:]:
        if trouble.lost:
            raise InputError(
                trouble.message, remedy="mend the file, or leave it out", file=source.path, line=trouble.line
            )
    return len(heard)


def content(path: Path) -> bytes:
    """A file's bytes; what ends in ``.gz`` unpacked. Raises InputError for a damaged archive or one that unpacks to more than
    LIMIT."""
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            raw = stream.read(LIMIT + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"is not a whole gzip file: {error}") from None
    if len(raw) > LIMIT:
        raise InputError(f"unpacks to more than {LIMIT >> 20} MB")
    return raw


def plain(value: Any) -> Any:
    """A value as metadata has it: text, number, boolean or a list of texts; None for what is none of these (an object)."""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, list | tuple | set):
        return [str(item) for item in list(value)[:ITEMS] if isinstance(item, str | int | float | datetime.date)]
    return None


def flat(values: Mapping[Any, Any]) -> dict[str, Any]:
    """A mapping as metadata: plain values by text keys; empty and nested ones are left out."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        item = plain(value)
        if item is not None and item not in ("", []):
            out[str(key)] = item
    return out
