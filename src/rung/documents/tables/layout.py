"""What a table is, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
FORMATS = (*dict.fromkeys(SUFFIXES.values()), "dataset", "lines", "texts")
"""``lines``: each line of a text is a row with the column ``line``; ``texts``: each .txt file under a folder one with
``text``."""

SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev",
    "test": "test",
}  # fmt: skip
"""Names under which splits are known elsewhere, and ours."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is written; what is None is told by the file's name and content.

    ``names`` name the columns, ``path`` says where the rows of a JSON document are (``data[].items[]``), ``quote`` is
    one character or ``none``. ``lenient``: the encoding is guessed, ragged rows and doubled or nameless columns are
    kept and told as warnings, NaN is a number; otherwise each of these is an error.
    """

    format: str | None = None
    header: bool | None = None
    names: tuple[str, ...] | None = None
    delimiter: str | None = None
    quote: str | None = None
    encoding: str | None = None
    path: str | None = None
    lenient: bool = False


PLAIN = Layout()


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column. ``line`` is 1-based; in files that have no lines it is the row's number."""

    values: Mapping[str, Any]
    file: Path
    line: int


@dataclass(slots=True)
class Table:
    """Rows and the columns they have, in the order first seen. ``split`` is set where the file itself says it."""

    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    split: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file is named, for problems that are about the name itself."""

    file: Path
    line: int | None = None


def guess(file: Path) -> str | None:
    """The format that a file's name stands for, None when it stands for none."""
    if file.is_dir():
        return "dataset"
    return SUFFIXES.get(Path(file.name.lower().removesuffix(".gz")).suffix)


def split_named(file: Path) -> str:
    """The split that a path within a dataset folder names, or ""."""
    for part in (*reversed(file.parts[:-1]), file.name):
        word = re.split(r"[-_.]", part.lower())[0]
        if word in SPLITS:
            return SPLITS[word]
    return ""
