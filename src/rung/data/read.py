"""Training rows out of files: any table that a task may have, in any shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.problem import Problems
from rung.data.rows import lines, shapes
from rung.data.rows.records import Record, RowError
from rung.documents import tables
from rung.documents.layout import Layout


def assemble(
    row: Mapping[str, Any], id: str, source: Mapping[str, Any], form: shapes.Shape | None = None
) -> Iterator[Record]:
    """The records of one row: one, but for the ``instances`` of a self-instruct row. A row that ``rung data`` wrote is the record
    that it was, provenance and all. Raises RowError saying why it is none."""
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
    shape: str | shapes.Shape = "",
    header: bool | None = None,
    quotes: bool = True,
    faults: list[str] | None = None,
) -> Iterator[Record]:
    """Records of JSONL, JSON, CSV, Parquet or Arrow files and Hugging Face folders, plain or gzipped.

    Every record knows its file and line. A row that has no known shape (or not ``shape``) goes to ``faults`` with the reason;
    without ``faults`` the first raises InputError, as does a file that cannot be read. ``header`` False: the first row of a
    table is data, and columns are named 1, 2 and so on. ``quotes`` False: quotation marks in CSV are signs like others.
    """
    form = (shapes.shape(shape) if shape else None) if isinstance(shape, str) else shape
    for path in paths:
        problems = Problems()
        found = tables.read(path, problems, Layout(header=header, quote=None if quotes else "none"))
        if faults is None:
            problems.demand(path)
        else:
            faults.extend(f"{p.file or path}:{p.line or ''} {p.message}" for p in problems.close())
        for table in found:
            for row in table.rows:
                source = {"file": row.file.name, "line": row.line, **({"split": table.split} if table.split else {})}
                try:
                    yield from assemble(row.values, f"{row.file.name}:{row.line}", source, form)
                except ValueError as error:
                    if faults is None:
                        raise InputError(
                            f"cannot be learnt from: {error}",
                            remedy="name the shape, or convert it: rung data import --help",
                            file=row.file,
                            line=row.line,
                        ) from None
                    faults.append(f"{row.file}:{row.line}: {error}")
