"""Rows into a file of somebody else's form: JSON Lines, JSON, CSV or Parquet, in any shape that can say them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.system.extras import require
from rung.data.rows import shapes
from rung.data.rows.lines import line, replacing
from rung.data.rows.records import Record, RowError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def export(
    records: Iterable[Record], path: Path, problems: Problems, *, shape: str = "", provenance: bool = False
) -> int:
    """Write the records in ``shape`` (empty: each in the one it was read in) and return how many. The suffix of
    ``path`` says the format.

    A record that the shape cannot say goes to ``problems``, as does (as a warning) what it leaves out of those that
    it can. Values that are no plain cells are JSON in CSV. ``provenance`` adds a column ``source``. Raises InputError
    for another suffix, or when no record could be said."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path.name} says no format",
            remedy=f"name a file that ends in {', '.join(SUFFIXES)}",
            code="unknown-format",
        )
    form = shapes.shape(shape) if shape else None
    count = 0
    lost: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for record in records:
            try:
                row = shapes.write(record, form)
            except RowError as error:
                problems.add(error.message, file=record.id, code=error.code)
                continue
            lost.update(shapes.losses(record, form) if form else ())
            if provenance:
                row = {**row, "source": encode(record.source)}
            count += 1
            yield row

    match path.suffix.lower():
        case ".jsonl":
            with replacing(path) as out:
                for row in rows():
                    out.write(line(row))
                _some(count, problems)
        case ".json":
            with replacing(path) as out:
                for row in rows():
                    out.write((b"[\n" if count == 1 else b",\n") + line(row).rstrip(b"\n"))
                _some(count, problems)
                out.write(b"\n]\n")
        case ".csv":
            _csv(list(rows()), path, problems)
        case _:
            _parquet(list(rows()), path, problems)
    for what, number in lost.items():
        problems.add(f"{what} of {number:,} rows is not in it", file=path, level="warning", code="lost")
    return count


def _some(count: int, problems: Problems) -> None:
    if not count:
        raise InputError(
            "no row can be said in that shape" + (f": {problems.found[0].message}" if problems.found else ""),
            remedy="name another with --shape",
            code="no-rows",
        )


def _csv(rows: list[dict[str, Any]], path: Path, problems: Problems) -> None:
    _some(len(rows), problems)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    with replacing(path) as out:
        out.write(text.getvalue().encode("utf-8", "replace"))


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _parquet(rows: list[dict[str, Any]], path: Path, problems: Problems) -> None:
    _some(len(rows), problems)
    arrow = require("pyarrow", "data", "writing Parquet")
    parquet = require("pyarrow.parquet", "data", "writing Parquet")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        table = arrow.table({name: arrow.array([row.get(name) for row in rows]) for name in columns})
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError) as error:
        raise InputError(
            f"rows differ in type: {error}", file=path, remedy="write .jsonl, which takes any row"
        ) from None
    with replacing(path) as out:
        parquet.write_table(table, out)
