"""Text files opened for tables: unpacked, decoded, line by line, none of it longer than memory allows."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from rung.core.parts.problem import Problems
from rung.documents.decode import SAMPLE, decode, is_binary, patch

LIMIT = 1 << 30
"""Bytes that a compressed file may unpack to where it is read whole."""
CELL = 1 << 26
"""Characters of a line, and of a cell, at most: an unclosed quote swallows the rest of a file."""
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


class Lines:
    """The lines of a text file, with their ends. What cannot be unpacked is a problem and ends them; a line that is
    longer than CELL or not UTF-8 is a problem and is left out; NUL characters are taken out and told. ``ended`` once
    all were given."""

    def __init__(self, text: IO[str], file: Path, problems: Problems, encoding: str, lenient: bool) -> None:
        self.ended = False
        self._bad = 0
        self._text, self._file, self._problems = text, file, problems
        self._encoding, self._lenient = encoding, lenient

    def __iter__(self) -> Iterator[str]:
        number = 0
        try:
            while line := self._text.readline(CELL):
                number += 1
                if len(line) == CELL and line[-1] not in "\r\n":
                    self._problems.add(
                        f"a line is longer than {CELL:,} characters", "break it up", file=self._file, line=number,
                        code="too-long",
                    )  # fmt: skip
                    while line and line[-1] not in "\r\n":
                        line = self._text.readline(CELL)
                    continue
                if "\0" in line:
                    self._problems.add(
                        "holds a NUL character, which is left out", "remove it", file=self._file, line=number, kind="NUL",
                        level="warning" if self._lenient else "error", code="nul",
                    )  # fmt: skip
                    line = line.replace("\0", "")
                if not self._lenient and not _decoded(line):
                    if self._bad == 0:
                        _undecodable(self._file, self._encoding, self._problems)
                    else:
                        self._problems.add(
                            "the line holds bytes that are not UTF-8", file=self._file, line=number, kind="not UTF-8",
                            code="encoding",
                        )  # fmt: skip
                    self._bad += 1
                    continue
                yield line
        except UnicodeDecodeError:
            _undecodable(self._file, self._encoding, self._problems)
        except _DAMAGED as error:
            _damaged(self._file, error, self._problems)
        finally:
            self.ended = True


def _decoded(line: str) -> bool:
    """Whether all bytes of a line could be decoded."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def open_lines(file: Path, problems: Problems, encoding: str | None, lenient: bool) -> Iterator[Lines | None]:
    """The file's lines; None (and a problem) where it is no text. Raises OSError when it cannot be opened."""
    with file.open("rb") as raw:
        binary = cast(IO[bytes], raw)
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        if packed:
            binary = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        elif file.suffix.lower() == ".gz":
            problems.add(
                "the name ends in .gz and the content is not gzip",
                "rename or compress the file",
                file=file,
                code="gzip",
            )
            yield None
            return
        try:
            head = binary.read(SAMPLE)
        except _DAMAGED as error:
            _damaged(file, error, problems)
            yield None
            return
        binary.seek(0)
        name = encoding or _encoding(head, file, problems, lenient)
        if name is None:
            yield None
            return
        # Strictly: a line with bytes that are not UTF-8 is left out by itself, and the rest goes on.
        errors = (
            ("surrogateescape" if name == "utf-8-sig" else "strict")
            if not lenient
            else patch()
            if name == "utf-8-sig"
            else "replace"
        )
        with io.TextIOWrapper(cast(Any, binary), name, errors=errors, newline="" if _csv(file) else "\n") as text:
            yield Lines(text, file, problems, name, lenient)


def _csv(file: Path) -> bool:
    # JSON Lines end at line feeds alone: U+2028 and a carriage return may stand inside.
    return Path(file.name.lower().removesuffix(".gz")).suffix not in (".jsonl", ".ndjson")


def whole(file: Path, problems: Problems, encoding: str | None, lenient: bool) -> str | None:
    """The file's text; None (and a problem) where it is none. Raises OSError when it cannot be opened."""
    raw = file.read_bytes() if file.suffix.lower() != ".gz" else b""
    try:
        if file.suffix.lower() == ".gz" or raw[:2] == b"\x1f\x8b":
            with gzip.open(file) as stream:
                raw = stream.read(LIMIT + 1)
    except _DAMAGED as error:
        _damaged(file, error, problems)
        return None
    if len(raw) > LIMIT:
        problems.add(f"unpacks to more than {LIMIT >> 20} MB", "cut it into several files", file=file, code="too-long")
        return None
    name = encoding or _encoding(raw[:SAMPLE], file, problems, lenient)
    if name is None:
        return None
    if lenient and encoding is None:
        return decode(raw).text
    try:
        return raw.decode(name)
    except UnicodeDecodeError:
        _undecodable(file, name, problems)
        return None


def _encoding(head: bytes, file: Path, problems: Problems, lenient: bool) -> str | None:
    """The encoding of a file that begins so; None (and a problem) for what is no text."""
    if not lenient:
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            problems.add(
                "the file is UTF-16", "add `reader: {encoding: utf-16}`, or save it as UTF-8", file=file, line=1,
                code="encoding",
            )  # fmt: skip
            return None
        return "utf-8-sig"  # the byte order mark that spreadsheets write is no part of the first column's name
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if is_binary(head):
        problems.add(
            "is not text: it holds bytes that no text has (a picture, an archive, a program?)", "leave it out", file=file,
            code="not-text",
        )  # fmt: skip
        return None
    found = decode(head.rsplit(b"\n", 1)[0])
    if found.line is not None:
        problems.add(
            f"is not UTF-8: read as {found.encoding}; save it as UTF-8", file=file, line=found.line, level="warning",
            code="encoding",
        )  # fmt: skip
    return "utf-8-sig" if found.encoding in ("utf-8", "utf-8 and cp1252") else found.encoding


def _undecodable(file: Path, encoding: str, problems: Problems) -> None:
    """Names the first byte that is not of the encoding; found by reading again, as decoders count from their last
    piece."""
    raw = file.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"0x{raw[error.start]:02x}" if error.start < len(raw) else "the end"
        problems.add(
            f"byte {error.start:,} ({byte}, in line {line}) is not {encoding.removesuffix('-sig').upper()}",
            f"name the encoding: `reader: {{encoding: cp1252}}`; or convert: iconv -f WINDOWS-1252 -t UTF-8 {file.name}",
            file=file, line=line, code="encoding",
        )  # fmt: skip


def _damaged(file: Path, error: Exception, problems: Problems) -> None:
    problems.add(f"the gzip stream is damaged: {error}", "copy or download the file again", file=file, code="gzip")
