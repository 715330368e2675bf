"""Training rows out of files: any table that a task may have, in any shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rung.core.errors import InputError
from rung.data import shapes
from rung.data.records import Record
from rung.tasks.definition import Source
from rung.tasks.problem import Problems
from rung.tasks.reader import read as read_tables


def read(paths: Sequence[Path], *, shape: str = "", faults: list[str] | None = None) -> Iterator[Record]:
    """Records of JSONL, JSON, CSV, Parquet or Arrow files and Hugging Face folders, plain or gzipped.

    Every record knows its file and line. A row that has no known shape (or not ``shape``) goes to ``faults`` with the reason;
    without ``faults`` the first raises InputError, as does a file that cannot be read.
    """
    form = shapes.shape(shape) if shape else None
    for path in paths:
        problems = Problems()
        tables = read_tables(Source(file=str(path)), path, problems)
        for problem in problems.close():
            if faults is None and problem.level == "error":
                raise InputError(problem.message, remedy=problem.remedy, file=problem.file or path, line=problem.line)
            if faults is not None:
                faults.append(f"{problem.file or path}:{problem.line or ''} {problem.message}")
        for table in tables:
            for row in table.rows:
                source = {"file": row.file.name, "line": row.line, **({"split": table.split} if table.split else {})}
                try:
                    yield shapes.read(row.values, f"{row.file.name}:{row.line}", source, form)
                except ValueError as error:
                    if faults is None:
                        raise InputError(
                            f"cannot be learnt from: {error}",
                            remedy="name the shape, or convert it: rung data import --help",
                            file=row.file,
                            line=row.line,
                        ) from None
                    faults.append(f"{row.file}:{row.line}: {error}")
