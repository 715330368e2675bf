"""Training rows out of files: any table, in any shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.core.parts.problem import Problems
from rung.data.rows import lines, shapes
from rung.data.rows.forms import Shape
from rung.data.rows.records import Record, RowError
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import Layout, Row, Table

SQUAD = Layout(path="data[].paragraphs[].qas[]")
"""Where the questions of a SQuAD file are; each has the context and the title above it."""


def assemble(row: Mapping[str, Any], id: str, source: Mapping[str, Any], form: Shape | None = None) -> Iterator[Record]:
    """The records of one row: one, but for the ``instances`` of a self-instruct row. A row that ``rung data`` wrote
    is the record that it was, provenance and all. Raises RowError saying why it is none."""
    if form is None and lines.packed(row):
        yield lines.unpack(row)
    elif form is None and isinstance(found := row.get("instances"), list) and "instruction" in row:
        if not found:
            raise RowError("its instances are empty", "no-answer")
        rest = {key: value for key, value in row.items() if key != "instances"}
        for number, instance in enumerate(found, 1):
            if not isinstance(instance, Mapping):
                raise RowError(f"instance {number} is {type(instance).__name__}, expected an object")
            place = {**source, "instance": number}
            yield shapes.read({**rest, **instance}, f"{id}#{number}", place, shapes.shape("instruction"))
    else:
        yield shapes.read(row, id, source, form)


def read(
    paths: Sequence[Path],
    *,
    shape: str | Shape = "",
    header: bool | None = None,
    quotes: bool = True,
    problems: Problems | None = None,
) -> Iterator[Record]:
    """Records of JSONL, JSON, CSV, Parquet or Arrow files, Hugging Face folders and SQuAD files, plain or gzipped.

    Every record knows its file and line. A row that has no known shape (or not ``shape``) goes to ``problems`` with
    the reason; without ``problems`` the first raises InputError, as does a file that cannot be read. ``header``
    False: the first row of a table is data, and columns are named 1, 2 and so on. ``quotes`` False: quotation marks
    in CSV are signs like others."""
    form = (shapes.shape(shape) if shape else None) if isinstance(shape, str) else shape
    layout = Layout(header=header, quote=None if quotes else "none")
    for path in paths:
        told = problems if problems is not None else Problems()
        for table in _tables(path, layout, told):
            for row in table.rows:
                yield from _records(row, table.split, form, told)
                if problems is None:
                    told.demand(path)
        if problems is None:
            told.demand(path)


def stream(path: Path, problems: Problems | None = None, *, skip: int = 0) -> Iterator[tuple[int, Record]]:
    """Records of one file with the line (or number) of their row, without those of the first ``skip`` lines.

    JSON Lines and CSV are read one row at a time, so that a file may be larger than memory; other tables are read
    whole. A row that is no record goes to ``problems``; without them the first raises InputError."""
    told = problems if problems is not None else Problems()
    for row in tables.stream(path, told):
        if row.line > skip:
            for record in _records(row, "", None, told):
                yield row.line, record
        if problems is None:
            told.demand(path)
    if problems is None:
        told.demand(path)


def _records(row: Row, split: str, form: Shape | None, problems: Problems) -> Iterator[Record]:
    source = {"file": row.file.name, "line": row.line, **({"split": split} if split else {})}
    try:
        yield from assemble(row.values, f"{row.file.name}:{row.line}", source, form)
    except RowError as error:
        problems.add(
            f"cannot be learnt from: {error.message}", "name the shape, or convert it: rung data import --help",
            file=row.file, line=row.line, code=error.code,
        )  # fmt: skip


def _tables(path: Path, layout: Layout, problems: Problems) -> list[Table]:
    """The tables of a file; a JSON object that is no list of rows may be a SQuAD file."""
    told = Problems()
    found = tables.read(path, told, layout)
    if not found and any(one.code == "json-path" for one in told.found):
        inside = Problems()
        if found := tables.read(path, inside, SQUAD):
            told = inside
    problems.extend(told)
    return found
