"""Metadata by column, made to answer a filter as a boolean mask over rows."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.protocols import Filter
from rung.retrieval.filter.conditions import Combination, Condition, Scalar, check, clean, typed

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Column:
    """One field: each distinct value (or list) is a code, each row has one; 0 is missing."""

    def __init__(self, rows: int, capacity: int) -> None:
        self.codes = np.zeros(capacity, np.int32)
        self.cells: list[Scalar | tuple[Scalar, ...]] = [()]
        self.code: dict[Any, int] = {}
        self.holders: dict[tuple[str, Scalar], list[int]] = {}
        """Item -> codes of the cells that hold it."""
        self._sorted: dict[str, tuple[list[Any], NDArray[np.int32]]] = {}

    def encode(self, cell: Scalar | tuple[Scalar, ...]) -> int:
        items = cell if isinstance(cell, tuple) else (cell,)
        key = tuple(map(typed, items)) if isinstance(cell, tuple) else typed(cell)
        code = self.code.get(key)
        if code is None:
            code = self.code[key] = len(self.cells)
            self.cells.append(cell)
            for item in dict.fromkeys(map(typed, items)):
                self.holders.setdefault(item, []).append(code)
            self._sorted = {}
        return code

    def between(self, operator: str, value: Scalar) -> NDArray[np.int32]:
        """Codes of the cells with an item that compares so; the items of each type are sorted once."""
        kind = typed(value)[0]
        found = self._sorted.get(kind)
        if found is None:
            pairs = sorted((item, code) for (k, item), codes in self.holders.items() if k == kind for code in codes)
            found = ([item for item, _ in pairs], np.array([code for _, code in pairs], np.int32))
            self._sorted = {**self._sorted, kind: found}
        items, codes = found
        if operator in ("gt", "gte"):
            return codes[(bisect.bisect_right if operator == "gt" else bisect.bisect_left)(items, value) :]
        return codes[: (bisect.bisect_left if operator == "lt" else bisect.bisect_right)(items, value)]


class MetadataColumns:
    """Metadata of rows 0..n-1 by column, made to answer a filter as a boolean mask.

    Readers may run while one writer appends: a mask covers the rows that there were when it was begun.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._capacity = 0
        self._columns: dict[str, _Column] = {}

    def __len__(self) -> int:
        return self._rows

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def extend(self, metadata: Sequence[Mapping[str, Any]] | None, rows: int | None = None) -> None:
        """Append rows. ``metadata`` None: ``rows`` rows without any. Raises InputError before anything is appended."""
        cleaned = None if metadata is None else [clean(item) for item in metadata]
        count = len(cleaned) if cleaned is not None else rows or 0
        start = self._rows
        self._reserve(start + count)
        if cleaned is not None:
            for row, item in enumerate(cleaned, start):
                for name, cell in item.items():
                    column = self._column(name)
                    column.codes[row] = column.encode(cell)
        self._rows = start + count

    def put(self, row: int, metadata: Mapping[str, Any]) -> None:
        """Give row ``row`` these metadata in place of its own."""
        cleaned = clean(metadata)
        for name, column in list(self._columns.items()):
            column.codes[row] = column.encode(cleaned.pop(name)) if name in cleaned else 0
        for name, cell in cleaned.items():
            column = self._column(name)
            column.codes[row] = column.encode(cell)

    def row(self, row: int) -> dict[str, Any]:
        """The metadata of a row; lists come back as lists."""
        out = {}
        for name, column in list(self._columns.items()):
            code = int(column.codes[row])
            if code:
                cell = column.cells[code]
                out[name] = list(cell) if isinstance(cell, tuple) else cell
        return out

    def take(self, rows: NDArray[np.integer[Any]]) -> MetadataColumns:
        """New columns of these rows in this order, with dictionaries of what they hold only."""
        out = MetadataColumns()
        out._reserve(len(rows))
        for name, column in self._columns.items():
            codes = column.codes[rows]
            kept = np.unique(codes[codes > 0])
            if not len(kept):
                continue
            fresh = out._column(name)
            renamed = np.zeros(len(column.cells), np.int32)
            for code in kept.tolist():
                renamed[code] = fresh.encode(column.cells[code])
            fresh.codes[: len(rows)] = renamed[codes]
        out._rows = len(rows)
        return out

    def mask(self, where: Filter | None) -> NDArray[np.bool_]:
        """Boolean array of shape (rows,): which rows pass the filter."""
        node = check(where)
        return self._mask(node, self._rows)

    def _mask(self, node: Condition | Combination, rows: int) -> NDArray[np.bool_]:
        if isinstance(node, Combination):
            if not node.parts:
                return np.full(rows, not node.any)
            out = self._mask(node.parts[0], rows)
            for part in node.parts[1:]:
                if node.any:
                    out |= self._mask(part, rows)
                else:
                    out &= self._mask(part, rows)
            return out
        column = self._columns.get(node.field)
        if column is None:
            return np.full(rows, node.operator == "ne" or (node.operator == "exists" and not node.value))
        codes = column.codes[:rows]
        if node.operator == "exists":
            present: NDArray[np.bool_] = (codes > 0) if node.value else (codes == 0)
            return present
        if node.operator in ("eq", "ne"):
            holders: Sequence[int] | NDArray[np.int32] = column.holders.get(typed(node.value), ())
        elif node.operator == "in":
            holders = [code for item in node.value for code in column.holders.get(typed(item), ())]
        else:
            holders = column.between(node.operator, node.value)
        out = _among(codes, holders, len(column.cells))
        return np.logical_not(out, out=out) if node.operator == "ne" else out

    def _reserve(self, rows: int) -> None:
        if rows <= self._capacity:
            return
        self._capacity = max(rows, 2 * self._capacity, 64)
        for column in self._columns.values():
            codes = np.zeros(self._capacity, np.int32)
            codes[: len(column.codes)] = column.codes
            column.codes = codes

    def _column(self, name: str) -> _Column:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _Column(self._rows, self._capacity)
        return column

    def dump(self) -> Iterator[tuple[str, list[Any], NDArray[np.int32]]]:
        """Each field's name, its cells by code (JSON types; the first stands for missing) and the codes of the rows."""
        for name, column in self._columns.items():
            cells = [list(cell) if isinstance(cell, tuple) else cell for cell in column.cells]
            yield name, cells, column.codes[: self._rows]

    @classmethod
    def restore(cls, rows: int, fields: Sequence[tuple[str, Sequence[Any], NDArray[np.int32]]]) -> MetadataColumns:
        """What ``dump`` gave, again as columns. Raises ValueError when the parts do not fit together."""
        out = cls()
        out._reserve(rows)
        out._rows = rows
        for name, cells, codes in fields:
            if len(codes) != rows or (rows and (codes.min() < 0 or codes.max() >= max(1, len(cells)))):
                raise ValueError(f"column {name!r} does not fit {rows} rows")
            column = out._column(name)
            for cell in cells[1:]:
                column.encode(tuple(cell) if isinstance(cell, list) else cell)
            if len(column.cells) != max(1, len(cells)):
                raise ValueError(f"column {name!r} holds a value twice")
            column.codes[:rows] = codes
        return out


def _among(codes: NDArray[np.int32], holders: Sequence[int] | NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    if not len(holders):
        return np.zeros(len(codes), np.bool_)
    if len(holders) == 1:
        equal: NDArray[np.bool_] = codes == holders[0]
        return equal
    table = np.zeros(count, np.bool_)
    table[holders] = True
    return table[codes]
