"""The rows of a task's sources as drafts of examples."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung.core.codec import digest
from rung.core.parts.problem import nearest
from rung.core.text.pattern import compile_pattern
from rung.documents.tables import rows as tables
from rung.documents.tables.cells import ABSENT, heads, value
from rung.documents.tables.layout import SPLITS, Place, Row, Table
from rung.tasks.file.definition import STDLIB_CORPUS, InputField, SourcePart
from rung.tasks.packs.middle import holes, stdlib
from rung.tasks.rows.checker import Draft, TaskChecker, short

FILE = "$file"
HUGE = 1_000_000
"""Characters in one field beyond which a row is a mistake."""


def read_tables(checker: TaskChecker) -> list[Table]:
    """The tables of all sources; ``split`` is set where the task file or a dataset folder says it."""
    out: list[Table] = []
    data = checker.definition.data
    for split, sources in (("", data.whole), ("train", data.train), ("dev", data.dev), ("test", data.test)):
        for index, source in enumerate(sources):
            location: tuple[str | int, ...] = ("data", split, index) if split else ("data", index)
            merged: SourcePart = source.under(checker.definition.reader)
            fim = merged.format == "fim"
            place = stdlib() if fim and source.file == STDLIB_CORPUS else checker.place(source.file, *location)
            if place is None:
                continue
            named = Place(checker.path, checker.line(*location))
            found = _holes(checker, place) if fim else tables.read(place, checker.problems, merged.layout, named=named)
            for table in found:
                _name_files(checker, table)
                if split:
                    table.split = split
                if not table.rows and not checker.problems.failed:
                    checker.problems.add("there are no rows in it", "add rows, or correct `reader`", file=place)
            out.extend(found)
    return out


def _name_files(checker: TaskChecker, table: Table) -> None:
    """The column ``$file``: a row's file, relative to the task file, for labels that the file's name or folder says."""
    columns = checker.definition.columns
    used = {field.column for field in columns.input.values()} | {
        columns.group,
        columns.id,
        columns.split,
        *columns.metadata,
    }
    if FILE not in used and (columns.reference is None or columns.reference.column != FILE):
        return
    folder = checker.path.parent.resolve()
    names = {
        file: os.path.relpath(file.resolve(), folder).replace(os.sep, "/") for file in {row.file for row in table.rows}
    }
    table.columns = (*table.columns, FILE)
    table.rows = [replace(row, values={**row.values, FILE: names[row.file]}) for row in table.rows]


def _holes(checker: TaskChecker, folder: Path) -> list[Table]:
    """Source files under a folder with a line of each cut open: see rung.tasks.packs.middle."""
    if not folder.is_dir():
        what = "is a file, expected a folder of source files" if folder.exists() else "is not there"
        checker.problems.add(what, "name a folder of source files", file=folder, code="not-found")
        return []
    try:
        rows = [Row(values, file, line) for file, line, values in holes(folder)]
    except OSError as error:
        checker.problems.add(
            f"cannot read it: {error.strerror or error}", "check its permissions", file=folder, code="unreadable"
        )
        return []
    if not rows:
        checker.problems.add(
            "the folder holds no source file with a line to fill", "name a folder of code", file=folder
        )
    return [Table(tuple(rows[0].values) if rows else (), rows)]


def read_rows(checker: TaskChecker, tables: Sequence[Table]) -> list[Draft]:
    columns = checker.definition.columns
    wanted = [("input", name, field.column) for name, field in columns.input.items()]
    if columns.reference is not None:
        wanted.append(("reference", "", columns.reference.column))
    wanted += [(name, "", column) for name in ("id", "group", "split") if (column := getattr(columns, name))]
    wanted += [("metadata", "", column) for column in columns.metadata]
    out: list[Draft] = []
    for table in tables:
        lacking = []
        for role, name, column in wanted:
            if column not in table.columns and not set(heads(column)) <= set(table.columns):
                lacking.append((role, name, column))
        if not table.rows:
            continue
        for role, name, column in lacking:
            file = table.rows[0].file
            hint = nearest(column, table.columns)
            shown = ", ".join(table.columns[:20])
            checker.report(
                f"there is no column {column!r} in {file}; the columns are: {shown}",
                hint if hint.startswith("did") else f"name one of them in `columns.{role}`",
                "columns", role, *([name] if name else []),
            )  # fmt: skip
        if not lacking:
            out += [draft for row in table.rows if (draft := _row(checker, row, table.split)) is not None]
    _mixed(checker, out)
    return [row for row in out if row.input]


def _row(checker: TaskChecker, row: Row, split: str) -> Draft | None:
    """The row as a draft; None for an empty one where these are to be skipped."""
    columns = checker.definition.columns
    skip = checker.definition.empty == "skip"
    reference = value(row.values, columns.reference.column) if columns.reference is not None else ABSENT
    blank = reference is None or reference is ABSENT or (isinstance(reference, str) and not reference.strip())
    if skip and blank and columns.reference is not None:
        checker.skipped["reference"] += 1
        return None
    input = {name: _field(checker, row, name, field) for name, field in columns.input.items()}
    read = Draft(row, split, input)
    if not any(text.strip() for text in input.values()):
        if skip:
            checker.skipped["input"] += 1
            return None
        checker.report_row(
            row,
            f"the input is empty ({', '.join(input)})",
            "fill it, remove the row, or skip such rows: `empty: skip`",
            "empty input",
        )
    _place(checker, read)
    for column in columns.metadata:
        found = value(row.values, column)
        if found is not ABSENT:
            read.metadata[column] = found
    if columns.reference is not None:
        read.reference = None if reference is ABSENT else reference
    return read


def _field(checker: TaskChecker, row: Row, name: str, field: InputField) -> str:
    """The text of a field of the input."""
    text = _plain(checker, value(row.values, field.column), row, name)
    if field.pattern is not None and text:
        text = _taken(checker, field.pattern, text, row, name)
    if len(text) > HUGE:
        checker.report_row(
            row, f"field {name!r} has {len(text):,} characters, at most {HUGE:,} are read",
            "shorten or split it; if this is unclosed quotes: `reader: {quote: none}`", "huge field",
        )  # fmt: skip
        return text[:100]
    return text


def _place(checker: TaskChecker, read: Draft) -> None:
    """The split, group and id that the row says it has."""
    columns, row = checker.definition.columns, read.row
    if columns.split is not None:
        given = str(value(row.values, columns.split)).strip().lower()
        if given not in SPLITS:
            checker.report_row(
                row, f"split {given!r}, expected train, dev or test", "correct it in the column "
                f"{columns.split!r}", "unknown split",
            )  # fmt: skip
        else:
            read.split = SPLITS[given]
    if columns.group is not None:
        group = value(row.values, columns.group)
        read.group = None if group in (None, "", ABSENT) else str(group)
    if columns.id is not None:
        id = value(row.values, columns.id)
        read.id = "" if id is None or id is ABSENT else str(id).strip()
        if not read.id:
            checker.report_row(row, "the id is empty", "fill it, or remove `columns.id`", "empty id")


def _taken(checker: TaskChecker, pattern: str, text: str, row: Row, name: str) -> str:
    """What the pattern of a field takes out of a text; "" (and a problem) where it does not match."""
    found = compile_pattern(pattern)
    match = found.search(text)
    if match is None:
        checker.report_row(
            row, f"field {name!r}: {short(text)} does not match its pattern", f"correct the row or `columns.input.{name}.pattern`",
            "field without match",
        )  # fmt: skip
        return ""
    return (match[1] if found.groups else match[0]) or ""


def _plain(checker: TaskChecker, found: Any, row: Row, name: str) -> str:
    if isinstance(found, str):
        return found
    if found is None or found is ABSENT:
        return ""
    if isinstance(found, bool | int | float):
        return json.dumps(found)
    checker.report_row(
        row, f"field {name!r} is a {type(found).__name__}, expected text",
        "name what lies inside, as in `meta.title` or `turns[].text`", "not text",
    )  # fmt: skip
    return ""


def _mixed(checker: TaskChecker, rows: Sequence[Draft]) -> None:
    """Columns in which some values are text and others numbers: mostly a mistake in how the data were written."""
    columns = checker.definition.columns
    watched = [("input", field.column) for field in columns.input.values()]
    if columns.reference is not None and checker.definition.answer.kind == "labels":
        watched.append(("reference", columns.reference.column))
    for role, column in watched:
        first: dict[str, Row] = {}
        for row in rows:
            found = value(row.row.values, column)
            if isinstance(found, str | bool | int | float):
                first.setdefault(type(found).__name__, row.row)
        if len(first) > 1:
            ways = ", ".join(f"{kind} (first in row {row.line:,})" for kind, row in first.items())
            checker.problems.add(
                f"column {column!r} mixes types: {ways}", "write all values as text",
                file=next(iter(first.values())).file, level="error" if role == "reference" else "warning",
            )  # fmt: skip


def identify(checker: TaskChecker, rows: Sequence[Draft]) -> None:
    """Ids: given, or the hash of input and reference; equal rows get -2, -3, ... in the order they stand."""
    seen: dict[str, Row] = {}
    count: Counter[str] = Counter()
    given = checker.definition.columns.id is not None
    for row in rows:
        row.key = digest([list(row.input.items()), row.reference])
        if not given:
            row.id = row.key[:12]
            count[row.id] += 1
            if count[row.id] > 1:
                row.id += f"-{count[row.id]}"
        elif row.id in seen:
            first = seen[row.id]
            checker.report_row(
                row.row, f"the id {row.id!r} is there twice (first in row {first.line:,} of {first.file.name})",
                "make ids distinct, or remove `columns.id`", "id twice",
            )  # fmt: skip
        else:
            seen[row.id] = row.row
