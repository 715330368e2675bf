"""Parquet and Arrow files, and dataset folders as Hugging Face ``datasets`` writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from rung.core.parts.problem import Problems
from rung.core.system.extras import require
from rung.documents.tables.layout import Row, Table


def read_arrow(file: Path, kind: str, problems: Problems) -> Table:
    """The rows of one file; integer labels get their names where the file or dataset_info.json has them. A float that
    is NaN is
    None: pandas writes missing values so. Raises MissingExtra without pyarrow."""
    why = f"reading {file.name}"
    arrow = require("pyarrow", "data", why)
    try:
        if kind == "parquet":
            data = require("pyarrow.parquet", "data", why).read_table(str(file))
        else:
            ipc = require("pyarrow.ipc", "data", why)
            with arrow.memory_map(str(file)) as stream:
                try:
                    data = ipc.open_stream(stream).read_all()
                except arrow.ArrowInvalid:
                    stream.seek(0)
                    data = ipc.open_file(stream).read_all()
        names = _classes(data.schema.metadata, file.parent)
        values = data.to_pylist()
    except (OSError, ValueError, arrow.ArrowException) as error:
        problems.add(
            f"not a readable {kind} file: {str(error)[:200]}", "write or download the file again", file=file,
            code="not-arrow",
        )  # fmt: skip
        return Table(())
    rows = []
    for number, row in enumerate(values, 1):
        for column, found in row.items():
            if isinstance(found, bytes):  # some writers have no texts
                row[column] = _text(found, column, file, number, problems)
            elif isinstance(found, float | list | dict | Decimal):
                row[column] = _plain(found)
        for column, labels in names.items():
            index = row.get(column)
            if isinstance(index, int) and 0 <= index < len(labels):
                row[column] = labels[index]
        rows.append(Row(row, file, number))
    return Table(tuple(data.column_names), rows)


def _plain(value: Any) -> Any:
    """A value without NaN, decimals as numbers."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.is_finite() else _plain(float(value))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(raw: bytes, column: str, file: Path, number: int, problems: Problems) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        problems.add(
            f"row {number:,}: {column!r} holds bytes that are no text", "leave the column out, or write it as text",
            file=file, kind="bytes", code="not-text", level="warning",
        )  # fmt: skip
        return None


def _classes(metadata: Mapping[bytes, bytes] | None, folder: Path) -> dict[str, list[str]]:
    """Names of the integer labels (ClassLabel of Hugging Face ``datasets``), from the file or from
    dataset_info.json."""
    features: Any = None
    if metadata and b"huggingface" in metadata:
        features = _features(metadata[b"huggingface"], inside="info")
    for place in (folder, folder.parent):
        info = place / "dataset_info.json"
        if not features and info.is_file():
            features = _features(info.read_bytes())
    if not isinstance(features, dict):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


def _features(raw: bytes, inside: str = "") -> Any:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if inside and isinstance(document, dict):
        document = document.get(inside)
    return document.get("features") if isinstance(document, dict) else None
