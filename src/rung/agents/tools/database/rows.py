"""What a query gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rung.core.errors import InputError

ROWS, CELL, BYTES = 100, 300, 16_000
"""Rows of an answer, characters of a cell, and bytes of the answer, about."""
SECONDS = 5.0
Rows = tuple[list[str], list[list[Any]], bool]
"""Names of columns, rows, and whether there were more."""


def refused(why: str) -> InputError:
    return InputError(
        f"the query was refused: {why[:300]}", remedy="write one SELECT over the tables there are", code="sql"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], more: bool) -> str:
    """The rows as lines under the columns' names."""
    lines = [" | ".join(columns)]
    for row in rows:
        cells = ("NULL" if cell is None else str(cell) for cell in row)
        lines.append(" | ".join(" ".join(cell.split("\n")).replace("|", "/") for cell in cells))
    lines.append(f"({len(rows)} row{'s' if len(rows) != 1 else ''}{' are shown, there are more' if more else ''})")
    return "\n".join(lines)
