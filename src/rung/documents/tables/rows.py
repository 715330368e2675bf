"""Rows of tables, read in one place: CSV, TSV, JSON Lines, JSON, Parquet, Arrow and dataset folders, plain or gzipped.

Every row keeps its file and line; what cannot be read is a Problem with its line, and the rest goes on. CSV and JSON
Lines are read row by row in bounded memory. A file that a person wrote for a task is read strictly; one among thousands
of documents leniently (see Layout).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rung.core.errors import MissingExtra
from rung.core.parts.problem import Problems, nearest
from rung.documents.reading.bounded import is_packed, read_apart, table_of
from rung.documents.reading.worker import Bounds
from rung.documents.source import Source
from rung.documents.tables.arrow import read_arrow
from rung.documents.tables.cells import LostPathError, complaint, is_lines, loads, segments, walk
from rung.documents.tables.encoded import CELL, Lines, open_lines, whole
from rung.documents.tables.layout import FORMATS, PLAIN, Layout, Place, Row, Table, guess, split_named

FILES = 20_000
"""No dataset folder has more entries; a path that leads to a whole disk does."""
_ABOUT = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")

BOUNDS = Bounds(memory=2 << 30, memory_per_byte=24)
"""What a compressed table may use: one may be all the data of a task."""
_STREAMED = ("csv", "tsv", "jsonl", "lines", "texts")
_DELIMITERS = ",;\t|"
_HEADER = 1 << 16
"""Characters of a header at most."""
csv.field_size_limit(max(csv.field_size_limit(), CELL))


def read(file: Path, problems: Problems, layout: Layout = PLAIN, *, named: Place | None = None) -> list[Table]:
    """The tables of a file, whole: one, or one a split for a dataset folder. Empty when nothing could be read."""
    try:
        kind = _kind(file, problems, layout, named)
        if kind is None:
            return []
        if kind == "dataset":
            return _folder(file, problems, layout)
        if is_packed(file, kind):
            return _apart(file, problems, layout)
        if kind in ("parquet", "arrow"):
            return [read_arrow(file, kind, problems)]
        columns: dict[str, None] = {}
        rows = list(_rows(file, kind, problems, layout, columns))
        return [Table(tuple(columns), rows)] if rows or columns else []
    except MissingExtra as missing:
        problems.add(missing.message, missing.remedy, file=file, code=missing.code)
    except OSError as error:
        _unreadable(file, error, problems, named)
    return []


def stream(file: Path, problems: Problems, layout: Layout = PLAIN, *, named: Place | None = None) -> Iterator[Row]:
    """The rows of a file one by one; CSV and JSON Lines in bounded memory, other formats read whole first."""
    try:
        kind = _kind(file, problems, layout, named)
        if kind in _STREAMED and file.is_file() and is_packed(file, kind):
            for row in read_apart(table_of(file), _Produce(layout, whole=False), problems, BOUNDS):
                yield Row(row.values, file, row.line)
        elif kind in _STREAMED:
            yield from _rows(file, kind, problems, layout, {})
        elif kind is not None:
            for table in read(file, problems, layout, named=named):
                yield from table.rows
    except OSError as error:
        _unreadable(file, error, problems, named)


@dataclass(frozen=True, slots=True)
class _Produce:
    """Rows for a worker: see ``read_apart``. ``whole``: as ``read`` gives them, each table's columns first."""

    layout: Layout
    whole: bool

    def __call__(self, source: Source, problems: Problems) -> Iterator[Any]:
        if not self.whole:
            yield from stream(source.path, problems, self.layout)
            return
        for table in read(source.path, problems, self.layout):
            yield table.columns
            yield from table.rows


def _apart(file: Path, problems: Problems, layout: Layout) -> list[Table]:
    found: list[Table] = []
    for item in read_apart(table_of(file), _Produce(layout, whole=True), problems, BOUNDS):
        if isinstance(item, tuple):
            found.append(Table(item))
        else:
            found[-1].rows.append(Row(item.values, file, item.line))
    # What was not read to its end is no table: the problem says so.
    return found if not any(problem.code == "too-much" for problem in problems.found) else []


def rows(file: Path, layout: Layout = PLAIN) -> list[Row]:
    """All rows of a file that must be good. Raises InputError with its first problem."""
    problems = Problems()
    found = [row for table in read(file, problems, layout) for row in table.rows]
    problems.demand(file)
    return found


def _kind(file: Path, problems: Problems, layout: Layout, named: Place | None) -> str | None:
    at = named or Place(file)

    def refuse(message: str, remedy: str, code: str) -> None:
        problems.add(message, remedy, file=at.file, line=at.line, code=code)

    if not file.exists():
        there = sorted(item.name for item in file.parent.iterdir()) if file.parent.is_dir() else []
        hint = nearest(file.name, there) if there else f"there is no folder {file.parent} either; correct the path"
        refuse(f"there is no {file}", hint, "not-found")
        return None
    kind = layout.format or guess(file)
    if kind is None:
        hint = f"add `reader: {{format: F}}`; F is one of {', '.join(FORMATS)}"
        refuse(f"cannot tell the format of {file.name}", hint, "unknown-format")
    elif file.is_dir() and kind not in ("dataset", "texts"):
        refuse(f"{file} is a folder, expected a {kind} file", "name the file", "folder")
        return None
    return kind


def _unreadable(file: Path, error: OSError, problems: Problems, named: Place | None) -> None:
    at = named or Place(file)
    problems.add(
        f"cannot read {file.name[:80]}: {error.strerror or error}",
        "check the path, the file and its permissions",
        file=at.file,
        line=at.line,
        code="unreadable",
    )


def _rows(file: Path, kind: str, problems: Problems, layout: Layout, columns: dict[str, None]) -> Iterator[Row]:
    """Rows of a text table; ``columns`` is filled as they are met."""
    if kind == "json":
        text = whole(file, problems, layout.encoding, layout.lenient)
        if text is not None:
            yield from _json(text, file, problems, layout, columns)
        return
    if kind == "texts":
        columns["text"] = None
        for path in sorted(islice(file.rglob("*.txt"), FILES)) if file.is_dir() else [file]:
            text = whole(path, problems, layout.encoding, layout.lenient)
            if text is not None:
                yield Row({"text": text}, path, 1)
        return
    with open_lines(file, problems, layout.encoding, layout.lenient) as lines:
        if lines is not None:
            reader = {"jsonl": _jsonl, "lines": _lines}.get(kind, _csv)
            yield from reader(lines, kind, file, problems, layout, columns)


# ---------------------------------------------------------------- CSV


def _csv(
    lines: Lines, kind: str, file: Path, problems: Problems, layout: Layout, columns: dict[str, None]
) -> Iterator[Row]:
    plain = layout.quote == "none"
    quote = '"' if plain or layout.quote is None else layout.quote
    delimiter, source, skipped = layout.delimiter, iter(lines), 0
    if delimiter is None:
        delimiter, head, skipped = _delimiter(source, kind, "" if plain else quote, len(layout.names or ()))
        source = chain(head, source)
    reader = csv.reader(
        source, delimiter=delimiter, quotechar=None if plain else quote,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL, strict=True,
    )  # fmt: skip
    names: tuple[str, ...] | None = None
    for line, cells in _records(reader, skipped, lines, file, problems):
        if names is None:
            named = layout.header is not False
            names = layout.names or (
                _names(cells, file, line, problems, layout)
                if named
                else tuple(str(index + 1) for index in range(len(cells)))
            )
            columns.update(dict.fromkeys(names))
            if named:
                continue
        if len(cells) != len(names):
            hint = "quote cells that hold the delimiter" + ("" if plain else ', and double a " inside quotes')
            problems.add(
                f"got {len(cells)} cells, expected {len(names)} ({', '.join(names[:6])})", hint, file=file, line=line,
                kind="wrong number of cells", code="cell-count", level="warning" if layout.lenient else "error",
            )  # fmt: skip
            if not layout.lenient:
                continue
            cells += [""] * (len(names) - len(cells))
            more = tuple(f"column {index + 1}" for index in range(len(names), len(cells)))
            yield Row(dict(zip((*names, *more), cells, strict=True)), file, line)
            continue
        yield Row(dict(zip(names, cells, strict=True)), file, line)


def _delimiter(source: Iterator[str], kind: str, quote: str, names: int) -> tuple[str, list[str], int]:
    """The delimiter of the header, the lines taken to tell it, and how many lines before the header were left out.

    A line ``sep=;`` as spreadsheets write it says it. Else a tab in a .tsv, what cuts the first line, quotes apart,
    into as many cells as ``names`` are given, or what cuts it into most.
    """
    head: list[str] = []
    for line in source:
        head.append(line)
        text = "".join(head)
        if found := re.fullmatch(r"sep=(.)[\r\n]*", text, re.IGNORECASE):
            return found[1], [], 1
        if (text.strip() and (not quote or text.count(quote) % 2 == 0)) or len(text) > _HEADER:
            break
    text = "".join(head)
    outside = re.sub(f"{re.escape(quote)}[^{re.escape(quote)}]*{re.escape(quote)}", "", text) if quote else text
    if kind == "tsv" and "\t" in outside:
        return "\t", head, 0
    fits = [one for one in _DELIMITERS if names > 1 and outside.count(one) == names - 1]
    return fits[0] if fits else max(_DELIMITERS, key=outside.count), head, 0


def _names(cells: Sequence[str], file: Path, line: int, problems: Problems, layout: Layout) -> tuple[str, ...]:
    """Names of columns out of the header: spaces and line breaks as one space, each name once."""
    out: dict[str, None] = {}
    copies: Counter[str] = Counter()
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.split())
        if not name:
            name = f"column {number}"
            if layout.lenient:
                problems.add(
                    f"column {number} has no name: it is read as `{name}`", "name it in the first row", file=file,
                    line=line, level="warning", kind="columns without a name", code="blank-column",
                )  # fmt: skip
        if name in out:
            problems.add(
                f"the column {name[:80]} is there more than once", "rename one", file=file, line=line,
                level="warning" if layout.lenient else "error", kind="columns twice", code="duplicate-column",
            )  # fmt: skip
            first = name
            while name in out:
                copies[first] += 1
                name = f"{first} ({copies[first] + 1})"
        out[name] = None
    return tuple(out)


def _records(
    reader: Any, skipped: int, lines: Lines, file: Path, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + skipped + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = lines.ended  # the module has no code for it: it asked for more, and there was none
            if unclosed:
                what = "a quotation mark that opens here is never closed: the rows below it were not read"
            else:
                what = f"cannot read this row: {error}"
            problems.add(
                what, "correct the quotes, or add `reader: {quote: none}`", file=file, line=line, kind="cannot be read",
                code="unclosed-quote" if unclosed else "not-csv",
            )  # fmt: skip
            continue
        if cells and any(cell.strip() for cell in cells):
            yield line, cells


# ---------------------------------------------------------------- JSON


def _jsonl(
    lines: Iterable[str], kind: str, file: Path, problems: Problems, layout: Layout, columns: dict[str, None]
) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = loads(line, strict=not layout.lenient)
        except (ValueError, RecursionError) as error:
            problems.add(
                f"not a JSON value: {complaint(error)}", "one JSON object a line; is the file plain JSON? `reader: {format: json}`",
                file=file, line=number, kind="not JSON", code="not-json",
            )  # fmt: skip
            continue
        row = _named(value, file, number, problems, layout)
        if row is not None:
            columns.update(dict.fromkeys(row))
            yield Row(row, file, number)


def _lines(
    lines: Iterable[str], kind: str, file: Path, problems: Problems, layout: Layout, columns: dict[str, None]
) -> Iterator[Row]:
    columns["line"] = None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Row({"line": line.rstrip("\r\n")}, file, number)


def _named(value: Any, file: Path, line: int, problems: Problems, layout: Layout) -> Mapping[str, Any] | None:
    if isinstance(value, dict):
        return value
    names = layout.names
    if isinstance(value, list) and value and len(value) == len(names or value):
        return dict(zip(names or (str(index + 1) for index in range(len(value))), value, strict=True))
    got = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
    expected = f"an object, or a list of {len(names)}" if names else "an object"
    problems.add(
        f"got {got}, expected {expected}", "make every row alike", file=file, line=line, kind="not an object",
        code="not-a-row",
    )  # fmt: skip
    return None


def _json(text: str, file: Path, problems: Problems, layout: Layout, columns: dict[str, None]) -> Iterator[Row]:
    try:
        document = loads(text, strict=not layout.lenient)
        found = list(walk(document, segments(layout.path or ""), {}))
    except LostPathError as lost:
        problems.add(str(lost), "name where the rows are: `reader: {path: data.items[]}`", file=file, code="json-path")
        return
    except (ValueError, RecursionError) as error:
        if layout.format is None and is_lines(text):
            yield from _jsonl(text.split("\n"), "jsonl", file, problems, layout, columns)
            return
        problems.add(
            f"not valid JSON: {complaint(error)}", "correct it; one object a line? `reader: {format: jsonl}`", file=file,
            line=getattr(error, "lineno", None), code="not-json",
        )  # fmt: skip
        return
    yield from number_rows(found, file, problems, layout, columns)


def number_rows(
    found: Iterable[Any], file: Path, problems: Problems, layout: Layout = PLAIN, columns: dict[str, None] | None = None
) -> Iterator[Row]:
    """Values of a JSON list as rows, numbered from 1; those that are no rows are problems."""
    for number, value in enumerate(found, 1):
        row = _named(value, file, number, problems, layout)
        if row is not None:
            if columns is not None:
                columns.update(dict.fromkeys(row))
            yield Row(row, file, number)


# ---------------------------------------------------------------- dataset folders


def _folder(folder: Path, problems: Problems, layout: Layout) -> list[Table]:
    """A dataset folder: what ``save_to_disk`` writes (a folder a split) or the hub's (``train-00000-of-00001``)."""
    files = [
        file
        for file in sorted(islice(folder.rglob("*"), FILES))
        if file.is_file() and not _ignored(file.relative_to(folder))
    ]
    if not files:
        problems.add(
            "the folder holds no data file", "expected .arrow, .parquet, .csv, .tsv, .jsonl or .json files", file=folder,
            code="no-rows",
        )  # fmt: skip
        return []
    tables: dict[str, Table] = {}
    skipped: list[str] = []
    split_of = {file: split_named(file.relative_to(folder)) for file in files}
    known = any(split_of.values())
    for file in files:
        split = split_of[file]
        if known and not split:
            skipped.append(str(file.relative_to(folder)))
            continue
        for table in read(file, problems, replace(layout, format=guess(file))):
            into = tables.setdefault(split, Table(table.columns, split=split))
            into.columns = tuple(dict.fromkeys((*into.columns, *table.columns)))
            into.rows.extend(table.rows)
    if skipped:
        problems.add(
            f"left out, as their names say no split: {', '.join(skipped[:5])}", "name the files under `data`", file=folder,
            level="warning", code="no-split",
        )  # fmt: skip
    return list(tables.values())


def _ignored(file: Path) -> bool:
    if any(part.startswith((".", "cache-")) for part in file.parts):
        return True
    return guess(file) is None or file.name in _ABOUT
