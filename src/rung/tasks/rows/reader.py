"""Rows out of files: CSV, TSV, JSONL, JSON, Parquet, Arrow and Hugging Face dataset folders, plain or gzipped.

Every row keeps where it came from, and every row that cannot be read is a problem with its line, not an exception.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from rung.core.errors import MissingExtra
from rung.core.extras import require
from rung.core.problem import Problems, nearest
from rung.tasks.file.definition import Source

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev",
    "test": "test",
}  # fmt: skip
"""Names under which splits are known elsewhere, and ours."""

FILES = 20_000
"""No dataset folder has more entries; a path that leads to a whole disk does."""


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


def read(
    source: Source, file: Path, problems: Problems, *, line: int | None = None, task: Path | None = None
) -> list[Table]:
    """Tables of one source: one, or one a split for a dataset folder. Empty when nothing could be read.

    ``task`` and ``line`` say where the source is named, for problems that are about the name itself.
    """
    try:
        return _read(source, file, problems, line, task or file)
    except MissingExtra as missing:
        problems.add(missing.message, missing.remedy, file=file)
    except OSError as error:
        problems.add(
            f"cannot read {file.name[:80]}: {error.strerror or error}",
            "check the path, the file and its permissions",
            file=task or file,
            line=line,
        )
    return []


def _read(source: Source, file: Path, problems: Problems, line: int | None, named: Path) -> list[Table]:
    if not file.exists():
        there = sorted(item.name for item in file.parent.iterdir()) if file.parent.is_dir() else []
        problems.add(
            f"there is no {file}",
            nearest(file.name, there) if there else f"there is no folder {file.parent} either; correct the path",
            file=named,
            line=line,
        )
        return []
    kind = source.format or guess(file)
    if kind is None:
        problems.add(
            f"cannot tell the format of {file.name}",
            "add `reader: {format: F}`; F is one of csv, tsv, jsonl, json, parquet, arrow, dataset, fim",
            file=named,
            line=line,
        )
        return []
    if kind == "dataset":
        return _folder(source, file, problems)
    if kind == "fim":
        return [_holes(file, problems)]
    if file.is_dir():
        problems.add(f"{file} is a folder, expected a {kind} file", "name the file", file=named, line=line)
        return []
    if kind in ("parquet", "arrow"):
        return [_arrow(file, kind, problems)]
    text = _text(file, source.encoding, problems)
    if text is None:
        return []
    if kind in ("csv", "tsv"):
        return [_csv(text, kind, source, file, problems)]
    if kind == "jsonl":
        return [_jsonl(text, source, file, problems)]
    return _json(text, source, file, problems)


def _holes(folder: Path, problems: Problems) -> Table:
    """Source files under a folder with a line of each cut open: see rung.tasks.packs.middle."""
    from rung.tasks.packs.middle import holes

    if not folder.is_dir():
        problems.add("is a file, expected a folder of source files", "name the folder", file=folder)
        return Table(())
    rows = [Row(values, file, line) for file, line, values in holes(folder)]
    if not rows:
        problems.add("the folder holds no source file with a line to fill", "name a folder of code", file=folder)
    return Table(tuple(rows[0].values) if rows else (), rows)


def guess(file: Path) -> str | None:
    """The format that a file's name stands for, None when it stands for none."""
    if file.is_dir():
        return "dataset"
    name = file.name.lower().removesuffix(".gz")
    return SUFFIXES.get(Path(name).suffix)


# ---------------------------------------------------------------- text


def _text(file: Path, encoding: str | None, problems: Problems) -> str | None:
    raw = file.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            problems.add(f"the gzip stream is damaged: {error}", "copy or download the file again", file=file)
            return None
    elif file.suffix == ".gz":
        problems.add("the name ends in .gz and the content is not gzip", "rename or compress the file", file=file)
        return None
    if encoding is None and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        problems.add("the file is UTF-16", "add `reader: {encoding: utf-16}`, or save it as UTF-8", file=file, line=1)
        return None
    try:
        # utf-8-sig: the byte order mark that spreadsheets write is no part of the first column's name.
        return raw.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(
            f"byte {error.start:,} (0x{raw[error.start]:02x}, in line {line}) is not {error.encoding.upper()}",
            f"name the encoding: `reader: {{encoding: cp1252}}`; or convert: iconv -f WINDOWS-1252 -t UTF-8 {file.name}",
            file=file,
            line=line,
        )
        return None


def _csv(text: str, kind: str, source: Source, file: Path, problems: Problems) -> Table:
    quote = source.quote or '"'
    plain = quote == "none"
    # csv refuses fields over 128 KiB by default, and unclosed quotes swallow the rest of a file: read whole, judge after.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=source.delimiter or ("," if kind == "csv" else "\t"),
            quotechar=None if plain else quote,
            quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
            strict=True,
        )
        records = list(_records(reader, file, problems))
    finally:
        csv.field_size_limit(limit)
    header = source.header if source.header is not None else True
    if header and records:
        columns = tuple(name.strip() for name in records.pop(0)[1])
        if source.names:
            columns = source.names
    else:
        width = len(records[0][1]) if records else 0
        columns = source.names or tuple(str(index + 1) for index in range(width))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        problems.add(
            f"the column {', '.join(twice)} is there more than once",
            "rename one",
            file=file,
            line=records[0][0] if records else 1,
        )
    table = Table(columns)
    for line, cells in records:
        if len(cells) != len(columns):
            problems.add(
                f"got {len(cells)} cells, expected {len(columns)} ({', '.join(columns[:6])})",
                "quote cells that hold the delimiter" + ("" if plain else ', and double a " inside quotes'),
                file=file,
                line=line,
                kind="wrong number of cells",
            )
            continue
        table.rows.append(Row(dict(zip(columns, cells, strict=True)), file, line))
    return table


def _records(reader: Any, file: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what, remedy = f"cannot read this row: {error}", "correct the quotes, or add `reader: {quote: none}`"
            if "unexpected end of data" in str(error):
                what = "a quotation mark that opens here is never closed"
            problems.add(what, remedy, file=file, line=line, kind="cannot be read")
            continue
        if cells and any(cell.strip() for cell in cells):
            yield line, cells


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _jsonl(text: str, source: Source, file: Path, problems: Problems) -> Table:
    columns: dict[str, None] = {}
    rows = []
    # Not splitlines(): U+2028 and friends may stand unescaped inside a JSON string.
    for line, item in enumerate(text.split("\n"), 1):
        if not item.strip():
            continue
        try:
            value = json.loads(item, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            where = f" at character {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            problems.add(
                f"not a JSON value: {what}{where}",
                "one JSON object a line; is the file plain JSON? `reader: {format: json}`",
                file=file,
                line=line,
                kind="not JSON",
            )
            continue
        row = _named(value, source, file, line, problems)
        if row is not None:
            columns.update(dict.fromkeys(row))
            rows.append(Row(row, file, line))
    return Table(tuple(columns), rows)


def _named(value: Any, source: Source, file: Path, line: int, problems: Problems) -> Mapping[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and source.names and len(value) == len(source.names):
        return dict(zip(source.names, value, strict=True))
    if isinstance(value, list) and not source.names and value:
        return {str(index + 1): item for index, item in enumerate(value)}
    got = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
    expected = f"an object, or a list of {len(source.names)}" if source.names else "an object"
    problems.add(f"got {got}, expected {expected}", "make every row alike", file=file, line=line, kind="not an object")
    return None


def _json(text: str, source: Source, file: Path, problems: Problems) -> list[Table]:
    try:
        document = json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        problems.add(
            f"not valid JSON: {error.msg} at character {error.colno}",
            "correct it; one object a line? `reader: {format: jsonl}`",
            file=file,
            line=error.lineno,
        )
        return []
    except (ValueError, RecursionError) as error:
        problems.add(f"not valid JSON: {error}", "correct it", file=file)
        return []
    try:
        found = list(_walk(document, _segments(source.path or ""), {}))
    except _Lost as lost:
        problems.add(str(lost), "name where the rows are: `reader: {path: data.items[]}`", file=file)
        return []
    columns: dict[str, None] = {}
    rows = []
    for number, value in enumerate(found, 1):
        row = _named(value, source, file, number, problems)
        if row is not None:
            columns.update(dict.fromkeys(row))
            rows.append(Row(row, file, number))
    return [Table(tuple(columns), rows)]


class _Lost(Exception):
    pass


def _segments(path: str) -> list[str]:
    """``data[].qas[]`` as ["data", "[]", "qas", "[]"]."""
    return [part for part in re.split(r"\.|(\[\])", path) if part]


def _walk(value: Any, segments: Sequence[str], above: Mapping[str, Any]) -> Iterator[Any]:
    """Rows at the end of ``segments``; an object inherits the plain values of the objects it lies in."""
    if not segments or segments == ["[]"]:
        if not isinstance(value, list):
            keys = f" with the keys {', '.join(list(value)[:12])}" if isinstance(value, dict) else ""
            raise _Lost(f"expected a list of rows, got a {type(value).__name__}{keys}")
        for item in value:
            yield {**above, **item} if isinstance(item, dict) and above else item
        return
    head, rest = segments[0], segments[1:]
    if head == "[]":
        if not isinstance(value, list):
            raise _Lost(f"expected a list before `[]`, got a {type(value).__name__}")
        for item in value:
            yield from _walk(item, rest, above)
        return
    if not isinstance(value, dict) or head not in value:
        keys = ", ".join(list(value)[:12]) if isinstance(value, dict) else f"none, it is a {type(value).__name__}"
        raise _Lost(f"there is no `{head}` where the path leads; the keys there: {keys}")
    plain = {key: item for key, item in value.items() if isinstance(item, str | int | float | bool)}
    yield from _walk(value[head], rest, {**above, **plain})


# ---------------------------------------------------------------- Arrow


def _arrow(file: Path, kind: str, problems: Problems) -> Table:
    why = f"reading {file.name}"
    try:
        if kind == "parquet":
            data = require("pyarrow.parquet", "data", why).read_table(str(file))
        else:
            arrow = require("pyarrow", "data", why)
            ipc = require("pyarrow.ipc", "data", why)
            with arrow.memory_map(str(file)) as stream:
                try:
                    data = ipc.open_stream(stream).read_all()
                except arrow.ArrowInvalid:
                    stream.seek(0)
                    data = ipc.open_file(stream).read_all()
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        problems.add(f"not a readable {kind} file: {error}", "write or download the file again", file=file)
        return Table(())
    names = _classes(data.schema.metadata, file.parent)
    rows = []
    for number, values in enumerate(data.to_pylist(), 1):
        for column, labels in names.items():
            index = values.get(column)
            if isinstance(index, int) and 0 <= index < len(labels):
                values[column] = labels[index]
        rows.append(Row(values, file, number))
    return Table(tuple(data.column_names), rows)


def _classes(metadata: Mapping[bytes, bytes] | None, folder: Path) -> dict[str, list[str]]:
    """Names of the integer labels (ClassLabel of Hugging Face ``datasets``), from the file or from dataset_info.json."""
    features: Any = None
    if metadata and b"huggingface" in metadata:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features")
    info = next(
        (place / "dataset_info.json" for place in (folder, folder.parent) if (place / "dataset_info.json").is_file()),
        None,
    )
    if not features and info is not None:
        try:
            features = json.loads(info.read_text(encoding="utf-8")).get("features")
        except ValueError:
            features = None
    if not isinstance(features, dict):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _folder(source: Source, folder: Path, problems: Problems) -> list[Table]:
    """A dataset folder: what ``save_to_disk`` writes (one folder a split) or the hub's layout (``train-00000-of-00001``)."""
    files = [
        file
        for file in sorted(islice(folder.rglob("*"), FILES))
        if file.is_file() and not _ignored(file.relative_to(folder))
    ]
    if not files:
        problems.add(
            "the folder holds no data file", "expected .arrow, .parquet, .csv, .tsv, .jsonl or .json files", file=folder
        )
        return []
    tables: dict[str, Table] = {}
    skipped: list[str] = []
    split_of = {file: _split(file.relative_to(folder)) for file in files}
    known = any(split_of.values())
    for file in files:
        split = split_of[file]
        if known and not split:
            skipped.append(str(file.relative_to(folder)))
            continue
        for table in read(source.model_copy(update={"format": guess(file)}), file, problems):
            into = tables.setdefault(split, Table(table.columns, split=split))
            into.columns = tuple(dict.fromkeys((*into.columns, *table.columns)))
            into.rows.extend(table.rows)
    if skipped:
        problems.add(
            f"left out, as their names say no split: {', '.join(skipped[:5])}", "name the files under `data`", file=folder,
            level="warning",
        )  # fmt: skip
    return list(tables.values())


def _ignored(file: Path) -> bool:
    if any(part.startswith((".", "cache-")) for part in file.parts):
        return True
    return guess(file) is None or file.name in (
        "dataset_info.json",
        "dataset_dict.json",
        "dataset_infos.json",
        "state.json",
    )


def _split(file: Path) -> str:
    """The split that a path within a dataset folder names, or ""."""
    for part in (*reversed(file.parts[:-1]), file.name):
        word = re.split(r"[-_.]", part.lower())[0]
        if word in SPLITS:
            return SPLITS[word]
    return ""


# ---------------------------------------------------------------- values

ABSENT = cast(Any, object())
_JSON = re.compile(r"json\(([^()]+)\)")


def heads(column: str) -> list[str]:
    """The columns that a column's name or path begins at: for ``a.b`` that is a, for ``json(a, b.c)`` a and b."""
    parts = found[1].split(",") if (found := _JSON.fullmatch(column)) else [column]
    return [re.split(r"[.\[]", part.strip())[0] for part in parts]


def value(row: Row, column: str) -> Any:
    """A row's value: the column of that name, the path ``a.b`` / ``a[].b`` into nested values, or ``json(a, b)``: those
    columns (or paths) as one JSON object, written as text. ABSENT when not there."""
    if column in row.values:
        return row.values[column]
    if found := _JSON.fullmatch(column):
        inside = {name: value(row, name) for name in (part.strip() for part in found[1].split(","))}
        kept = {name: item for name, item in inside.items() if item is not ABSENT}
        return json.dumps(kept, ensure_ascii=False) if kept else ABSENT
    if "." not in column and "[" not in column:
        return ABSENT
    reached: list[Any] = [row.values]
    several = False
    for segment in _segments(column):
        if segment == "[]":
            several = True
            reached = [inner for item in reached if isinstance(item, list) for inner in item]
        else:
            reached = [item[segment] for item in reached if isinstance(item, Mapping) and segment in item]
    if several:
        return reached
    return reached[0] if reached else ABSENT
