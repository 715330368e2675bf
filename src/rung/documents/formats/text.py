"""Plain text, and the texts that other readers take apart further."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Document
from rung.documents.decode import Decoded, decode, is_binary, lines
from rung.documents.source import LIMIT, Source, content

MAPPED = 1 << 22
"""Bytes from which a file is mapped, so that it is not in memory twice while it is decoded."""


def text_of(source: Source, problems: Problems) -> Decoded:
    """A source's text. A guessed encoding is told as a warning. Raises InputError for what is no text."""
    if source.size > LIMIT:
        raise InputError(f"is {source.size >> 20:,} MB, expected at most {LIMIT >> 20:,}: cut it into several files")
    if source.size >= MAPPED and source.path.suffix.lower() != ".gz":
        with source.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            found = _mapped(mapped)
    else:
        found = decode(content(source.path))
    if found.line is not None:
        tell_encoding(found, source, problems)
    return found


def tell_encoding(found: Decoded, source: Source, problems: Problems) -> None:
    """A guessed encoding, as a warning."""
    problems.add(
        f"is not UTF-8: read as {found.encoding}; save it as UTF-8", file=source.id, line=found.line, level="warning",
        code="encoding",
    )  # fmt: skip


def _mapped(mapped: mmap.mmap) -> Decoded:
    head = mapped[: 1 << 16]
    if head[:2] not in (b"\xff\xfe", b"\xfe\xff") and head[:3] != b"\xef\xbb\xbf" and not is_binary(head):
        try:
            text = str(mapped, "utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return Decoded(lines(text))
    return decode(mapped[:])


@dataclass(frozen=True, slots=True)
class TextReader:
    """One document a file."""

    suffixes: tuple[str, ...] = (".txt", ".text", ".rst", ".log", ".org", ".adoc", ".tex")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        found = text_of(source, problems)
        yield Document(source.id, found.text, noted(found))


def noted(found: Decoded) -> dict[str, str]:
    """The encoding as metadata where it is not UTF-8."""
    return {} if found.encoding == "utf-8" else {"encoding": found.encoding}


TEXT = TextReader()
