"""Tables: every row of a CSV, TSV, JSONL or JSON file is a document of its own, its other columns are metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Document
from rung.documents.formats.text import text_of
from rung.documents.source import Source, flat
from rung.documents.tables.cells import is_lines, loads
from rung.documents.tables.layout import Layout, Row
from rung.documents.tables.rows import number_rows, stream

TEXTS = ("text", "content", "body", "passage", "document", "contents")
"""Columns that hold a row's text, the first that is there; without one, all columns are written out as
``name: value``."""
IDS = ("id", "_id", "docid", "doc_id", "key")
NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,12})?")
_LENIENT = Layout(lenient=True)


@dataclass(frozen=True, slots=True)
class CsvReader:
    """A row a document; the first row names the columns. ``,``, ``;``, ``|`` or tab, whichever the first row has most
    of."""

    suffixes: tuple[str, ...] = (".csv", ".tsv", ".tab")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        own = Problems()
        rows = (
            replace(row, values={name: _number(value) for name, value in row.values.items()})
            for row in stream(source.path, own, _LENIENT)
        )
        count = 0
        for document in _documents(source, rows, own, problems):
            count += 1
            yield document
        if not count and not source.size:
            raise InputError("holds no text: it has no first row that names the columns", code="no-text")


@dataclass(frozen=True, slots=True)
class JsonlReader:
    """A line a document. A line that is no JSON object is a problem, not the end."""

    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        own = Problems()
        yield from _documents(source, stream(source.path, own, _LENIENT), own, problems)


@dataclass(frozen=True, slots=True)
class JsonReader:
    """A list of objects (or the only list of objects in an object) is a table; anything else is one document."""

    suffixes: tuple[str, ...] = (".json",)

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        own, text = Problems(), text_of(source, problems).text
        try:
            value = loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            if is_lines(text):
                yield from _documents(source, stream(source.path, own, _LENIENT), own, problems)
                return
            what = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
            raise InputError(f"is not valid JSON: {what}", code="not-json") from None
        if isinstance(value, dict):
            lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], dict)]
            value = lists[0] if len(lists) == 1 else value
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            yield from _documents(source, number_rows(value, source.path, own, _LENIENT), own, problems)
        else:
            # Escapes are written out: nobody searches for caf\\u00e9.
            escaped = isinstance(value, dict | list | str) and "\\u" in text
            yield Document(source.id, json.dumps(value, ensure_ascii=False, indent=1) if escaped else text)


def _documents(source: Source, rows: Iterator[Row], own: Problems, problems: Problems) -> Iterator[Document]:
    """Rows as documents. The id is the row's own (column ``id`` and the like) behind the file's, else the line's
    number. ``own`` are the problems of the rows, which are told under the source's name."""
    taken: set[str] = set()
    for row in rows:
        _hand_on(own, source, problems)
        text, metadata = _text(row, source, problems)
        if not text.strip():
            continue
        name = next((str(row.values[key]) for key in IDS if row.values.get(key) not in (None, "")), str(row.line))
        if name in taken:
            problems.add(
                f"the id {name[:80]!r} is there more than once: this row is called {name[:80]}-{row.line}", "make ids distinct",
                file=source.id, line=row.line, level="warning", kind="ids twice", code="id-twice",
            )  # fmt: skip
            name = f"{name}-{row.line}"
        taken.add(name)
        yield Document(f"{source.id}:{name}", text, metadata)
    own.found[:] = own.close()
    _hand_on(own, source, problems)


def _hand_on(own: Problems, source: Source, problems: Problems) -> None:
    if own.found:
        problems.found += [replace(problem, file=source.id) for problem in own.found]
        own.found.clear()


def _text(row: Row, source: Source, problems: Problems) -> tuple[str, dict[str, Any]]:
    """The text of a row and its metadata."""
    values = row.values
    column = next((name for name in TEXTS if isinstance(values.get(name), str) and values[name].strip()), None)
    rest = {name: value for name, value in values.items() if name != column}
    if column is None:
        shown = {name: value for name, value in rest.items() if name not in IDS and value not in (None, "", [])}
        # Written out, nothing is lost: only what is no value at all is told.
        nested = {name for name, value in shown.items() if isinstance(value, Mapping | list)}
        metadata = flat({n: v for n, v in rest.items() if n not in nested}, problems, source.id, row.line)
        lines = (f"{name}: {value if isinstance(value, str) else _json(value)}" for name, value in shown.items())
        return "\n".join(lines), metadata
    metadata = flat(rest, problems, source.id, row.line)
    title = values.get("title")
    if isinstance(title, str) and title.strip() and not values[column].startswith(title):
        return f"{title}\n\n{values[column]}", metadata
    return values[column], metadata


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> Any:
    """A number where a cell says one as it would be written (so that ``year>=2020`` finds it); ``007`` stays a text."""
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


CSV, JSONL, JSON = CsvReader(), JsonlReader(), JsonReader()
