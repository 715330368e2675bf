"""Tables: every row of a CSV, TSV, JSONL or JSON file is a document of its own, its other columns are metadata."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, cast

from rung.core.errors import InputError
from rung.core.types import Document
from rung.documents.decode import decode, is_binary, patch
from rung.documents.source import Source, Trouble, flat
from rung.documents.text import text_of

TEXTS = ("text", "content", "body", "passage", "document", "contents")
"""Columns that hold a row's text, the first that is there; without one, all columns are written out as ``name: value``."""
IDS = ("id", "_id", "docid", "doc_id", "key")
CELL = 1 << 26
"""Characters of a cell at most: an unclosed quote swallows the rest of a file."""
NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,12})?")
BAD = 20
"""Bad rows of a file that are told one by one."""


@dataclass(frozen=True, slots=True)
class CsvReader:
    """A row a document; the first row names the columns. ``,``, ``;``, ``|`` or tab, whichever the first row has most of."""

    suffixes: tuple[str, ...] = (".csv", ".tsv", ".tab")

    def read(self, source: Source, troubles: list[Trouble]) -> Iterator[Document]:
        csv.field_size_limit(max(csv.field_size_limit(), CELL))
        with _open(source) as raw:
            stream = _decoded(raw)
            first = stream.readline()
            if not first.strip():
                raise InputError("holds no text: it has no first row that names the columns")
            mark = max("\t,;|", key=first.count)
            names = [name.strip() for name in next(csv.reader([first], delimiter=mark))]
            rows = csv.reader(stream, delimiter=mark)
            for document in _documents(source, _csv(rows, names, troubles, source), troubles):
                yield replace(document, metadata={key: _number(value) for key, value in document.metadata.items()})


def _csv(rows: Any, names: Sequence[str], troubles: list[Trouble], source: Source) -> Iterator[tuple[int, Any]]:
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            troubles.append(Trouble(source.id, f"the row is not CSV: {error}", rows.line_num + 1))
            continue
        if row:
            yield rows.line_num + 1, dict(zip(names, row, strict=False))


@dataclass(frozen=True, slots=True)
class JsonlReader:
    """A line a document. A line that is no JSON object is a trouble, not the end."""

    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")

    def read(self, source: Source, troubles: list[Trouble]) -> Iterator[Document]:
        with _open(source) as raw:
            yield from _documents(source, _jsonl(_decoded(raw)), troubles)


def _jsonl(lines: IO[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, _load(line)
            except (ValueError, RecursionError) as error:
                yield number, error


@dataclass(frozen=True, slots=True)
class JsonReader:
    """A list of objects (or the only list of objects in an object) is a table; anything else is one document."""

    suffixes: tuple[str, ...] = (".json",)

    def read(self, source: Source, troubles: list[Trouble]) -> Iterator[Document]:
        text = text_of(source, troubles).text
        try:
            value = _load(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not valid JSON: {str(error)[:120]}") from None
        if isinstance(value, dict):
            lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
            value = lists[0] if len(lists) == 1 else value
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            yield from _documents(source, enumerate(value, 1), troubles)
        else:
            yield Document(source.id, text)


def _load(text: str) -> Any:
    """JSON, with a question mark for each half of a surrogate pair that stands alone: no file could hold it."""
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _documents(
    source: Source, rows: Iterator[tuple[int, Any]] | enumerate[Any], troubles: list[Trouble]
) -> Iterator[Document]:
    """Rows as documents. The id is the row's own (column ``id`` and the like) behind the file's, else the line's number."""
    bad = 0
    for number, row in rows:
        if not isinstance(row, dict):
            bad += 1
            if bad <= BAD:
                said = str(row)[:100] if isinstance(row, Exception) else f"expected an object, got {type(row).__name__}"
                troubles.append(Trouble(source.id, f"not a row: {said}", number))
            continue
        text, metadata = _row(row)
        if not text.strip():
            continue
        name = next((str(row[key]) for key in IDS if row.get(key) not in (None, "")), str(number))
        yield Document(f"{source.id}:{name}", text, metadata)
    if bad > BAD:
        troubles.append(Trouble(source.id, f"{bad - BAD:,} more rows are no rows"))


def _row(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    column = next((name for name in TEXTS if isinstance(row.get(name), str) and row[name].strip()), None)
    metadata = flat({name: value for name, value in row.items() if name != column})
    if column is None:
        shown = {name: value for name, value in row.items() if name not in IDS and value not in (None, "", [])}
        lines = (
            f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for name, value in shown.items()
        )
        return "\n".join(lines), metadata
    title = row.get("title")
    if isinstance(title, str) and title.strip() and not row[column].startswith(title):
        return f"{title}\n\n{row[column]}", metadata
    return row[column], metadata


def _number(value: Any) -> Any:
    """A number where a cell says one as it would be written (so that ``year>=2020`` finds it); ``007`` stays a text."""
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


def _open(source: Source) -> IO[bytes]:
    if source.path.suffix.lower() == ".gz":
        try:
            with gzip.open(source.path) as probe:
                probe.peek(1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"is not a whole gzip file: {error}") from None
        return cast(IO[bytes], gzip.open(source.path))
    return source.path.open("rb")


def _decoded(raw: IO[bytes]) -> IO[str]:
    """The stream as text, read piece by piece; the encoding is told by its beginning, stray bytes are read as cp1252."""
    buffered = raw if isinstance(raw, io.BufferedReader | gzip.GzipFile) else io.BufferedReader(cast(Any, raw))
    head = buffered.read(1 << 16)
    buffered.seek(0)
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return io.TextIOWrapper(cast(Any, buffered), "utf-16", newline="")
    if is_binary(head):
        raise InputError("is not text: it holds bytes that no text has (a picture, an archive, a program?)")
    found = decode(head.rsplit(b"\n", 1)[0])
    name = found.encoding if found.encoding not in ("utf-8", "utf-8 and cp1252") else "utf-8-sig"
    return io.TextIOWrapper(cast(Any, buffered), name, errors=patch() if name == "utf-8-sig" else "replace", newline="")


CSV, JSONL, JSON = CsvReader(), JsonlReader(), JsonReader()
