"""A file to be read, and what every reader of a format does."""

from __future__ import annotations

import datetime
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from rung.core.errors import InputError, MissingExtra
from rung.core.parts import registry
from rung.core.parts.problem import Problems
from rung.core.types import Document

LIMIT = 1 << 30
"""Bytes that a compressed file may unpack to."""
ITEMS = 1000
"""Items of a list in the metadata at most."""
LARGEST = 2**63 - 1
"""The largest number that is metadata: databases hold no larger ones."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was found. ``id`` is its name among the documents (the scanned folder's name and the path in it),
    ``kind`` the registered reader that reads it, ``size`` its bytes, ``mtime_ns`` when it was last changed."""

    path: Path
    kind: str
    size: int
    mtime_ns: int
    id: str


@runtime_checkable
class Reader(Protocol):
    """Reads one format. ``suffixes`` are lower case and begin with a dot. ``read`` yields the file's documents, adds
    what it had to leave out to ``problems`` (``file`` is the source's id; a warning where nothing is lost, such as a
    guessed encoding), and raises InputError when nothing of the file can be read."""

    @property
    def suffixes(self) -> tuple[str, ...]: ...
    def read(self, source: Source, problems: Problems) -> Iterator[Document]: ...


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


def parse(source: Source, problems: Problems) -> Iterator[Document]:
    """The documents of a source, read in this process without bounds (see ``read``, which has them), in the file's
    order; ids begin with the source's id and are unique within it, metadata hold what filters can test. What cannot be
    read is added to ``problems``. Raises MissingExtra for an optional package that is not there: it is not the file's
    fault."""
    taken: set[str] = set()
    before = len(problems.found)
    try:
        for document in reader(source.kind).read(source, problems):
            if document.id in taken:
                name = document.id[len(source.id) + 1 :]
                problems.add(
                    f"the id {name!r} is there twice; the first is kept",
                    file=source.id,
                    kind="ids twice",
                    code="id-twice",
                )
            elif not document.text or document.text.isspace():
                problems.add("holds no text", file=source.id, code="no-text")
            else:
                taken.add(document.id)
                metadata = {"kind": source.kind, **flat(document.metadata, problems, source.id)}
                yield replace(document, text=clean(document.text), metadata=metadata)
    except MissingExtra:
        raise
    except InputError as error:
        problems.add(error.message, error.remedy, file=source.id, line=error.line, code=error.code)
    except (EOFError, zlib.error) as error:
        problems.add(f"is not a whole gzip file: {error}", file=source.id, code="gzip")
    except OSError as error:
        problems.add(f"cannot be read: {error.strerror or error}", file=source.id, code="unreadable")
    except (RecursionError, MemoryError):
        what = "it is nested too deeply, or needs more memory than it may"
        problems.add(f"cannot be read: {what}", "leave it out", file=source.id, code="too-much")
    else:
        if not taken and len(problems.found) == before:
            problems.add("holds no text", file=source.id, code="no-text")


def content(path: Path) -> bytes:
    """A file's bytes; what ends in ``.gz`` unpacked. Raises InputError for a damaged archive or one that unpacks to
    more than LIMIT."""
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
    """A value as metadata has it: text, finite number, boolean or a list of texts; None for what is none of these."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if -LARGEST <= value <= LARGEST else None  # NaN is neither
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, list | tuple | set):
        items = [
            clean(str(item)) for item in list(value)[:ITEMS] if isinstance(item, str | int | float | datetime.date)
        ]
        return items or None
    return None


def flat(values: Mapping[Any, Any], problems: Problems, file: str, line: int | None = None) -> dict[str, Any]:
    """A mapping as metadata: plain values by names. Empty ones are left out; what is no metadata (a nested value, a
    number that is not finite, a field without a name) is left out and told as a warning."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if value is None or value == "" or value == []:
            continue
        name, item = clean(str(key)).strip(), plain(value)
        if item is None or not name:
            what = "is nested" if isinstance(value, Mapping | list | tuple) else f"is {str(value)[:40]}"
            problems.add(
                f"the field {name!r} {what}, which is no metadata: left out" if name else "a field has no name: left out",
                "write a text, a number, true, false or a list of texts", file=file, line=line, level="warning",
                kind="no metadata", code="not-metadata",
            )  # fmt: skip
        else:
            if isinstance(item, list) and len(item) < len(value):
                problems.add(
                    f"of the field {name!r} {len(item):,} of {len(value):,} items are metadata: the rest is left out",
                    f"write at most {ITEMS:,} texts or numbers", file=file, line=line, level="warning", kind="no metadata",
                    code="not-metadata",
                )  # fmt: skip
            out[name] = item
    return out


def clean(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair that stands alone: no file could hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
