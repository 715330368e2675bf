"""Metadata filters: one record (``core.protocols.Filter``) read from JSON or a shell string, and answered everywhere alike:
as a Python predicate, as a boolean mask over dictionary-encoded columns, and in the languages of the servers.

What holds where: types are strict (2020 is not "2020", true is not 1; 2020 is 2020.0). A null or an empty list is a missing
field. Texts compare by code point, so dates written as ISO 8601 sort as they should. Each operator of a field is a test of
its own: a list passes ``{"gte": 3, "lt": 5}`` when one item is >= 3 and one item, maybe another, is < 5.
"""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from rung.core.errors import InputError, Unsupported
from rung.core.protocols import Filter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scalar = str | int | float | bool
OPERATORS: Final = ("eq", "ne", "in", "gt", "gte", "lt", "lte", "exists")
NESTED: Final = 50
"""Groups inside groups at most."""
_SHAPE: Final = '{"lang": "en", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}'


# ---------------------------------------------------------------- the checked form


@dataclass(frozen=True, slots=True)
class Condition:
    """One field, one operator. ``value`` is a scalar, a tuple of scalars (``in``) or a boolean (``exists``)."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Combination:
    """Holds when every part does, or, where ``any`` is set, when one does. No parts: all of nothing holds, any of it not."""

    parts: tuple[Condition | Combination, ...]
    any: bool = False


def check(where: Filter | None, depth: int = 0) -> Combination:
    """A filter in its checked form. Raises InputError that says which field or operator is wrong."""
    if where is None:
        return Combination(())
    if depth > NESTED:
        raise _too_deep()
    if not isinstance(where, Mapping):
        raise InputError(f"a filter is a mapping of fields, got {where!r}", remedy=f"type for instance {_SHAPE}")
    parts: list[Condition | Combination] = []
    for name, wanted in where.items():
        if not isinstance(name, str) or not name:
            raise InputError(
                f"a filter's fields are named by texts, got {name!r}", remedy=f"type for instance {_SHAPE}"
            )
        if name in ("any", "all") and isinstance(wanted, list | tuple):
            parts.append(Combination(tuple(check(item, depth + 1) for item in wanted), any=name == "any"))
        elif isinstance(wanted, Mapping):
            if not wanted:
                raise InputError(f"the filter of field {name!r} is empty", remedy=f"operators: {', '.join(OPERATORS)}")
            parts.extend(_test(name, operator, value) for operator, value in wanted.items())
        else:
            parts.append(_test(name, "eq", wanted))
    return Combination(tuple(parts))


def _too_deep() -> InputError:
    return InputError(
        f"the filter is nested more than {NESTED} deep", remedy="write it flatter", code="filter-too-deep"
    )


def _test(name: str, operator: str, value: Any) -> Condition:
    if operator not in OPERATORS:
        raise InputError(f"field {name!r}: unknown operator {operator!r}", remedy=f"operators: {', '.join(OPERATORS)}")
    if operator == "exists":
        if not isinstance(value, bool):
            raise InputError(
                f"field {name!r}: exists takes true or false, got {value!r}", remedy='type {"exists": true}'
            )
        return Condition(name, operator, value)
    if operator == "in":
        if isinstance(value, str) or not isinstance(value, Sequence | frozenset | set):
            raise InputError(f"field {name!r}: in takes a list, got {value!r}", remedy='type {"in": ["a", "b"]}')
        return Condition(name, operator, tuple(_scalar(name, item) for item in value))
    if isinstance(value, list | tuple):
        raise InputError(
            f"field {name!r}: {operator} takes one value, got a list", remedy=f'type {{"in": {list(value)}}}'
        )
    read = _scalar(name, value)
    if operator in ("gt", "gte", "lt", "lte") and isinstance(read, bool):
        raise InputError(f"field {name!r}: {operator} compares numbers or texts, got {value!r}", remedy="use eq or ne")
    return Condition(name, operator, read)


def _scalar(name: str, value: Any) -> Scalar:
    """A plain Python value; NumPy's scalars become Python's."""
    if isinstance(value, str | bool | int):
        return value
    if hasattr(value, "item") and not isinstance(value, float) and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"field {name!r}: {value!r} is not a finite number", remedy="leave the field out")
    if not isinstance(value, str | bool | int | float):
        raise InputError(
            f"field {name!r}: got {type(value).__name__} {value!r}, expected a text, a number or a boolean",
            remedy="flatten nested values into fields of their own; write dates as ISO 8601 texts",
        )
    return value


def clean(metadata: Mapping[str, Any]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Metadata as filters see it: fields that are null or empty lists left out, lists as tuples.

    Raises InputError for a value that no filter could test (nested mappings, NaN, objects).
    """
    out: dict[str, Scalar | tuple[Scalar, ...]] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"a metadata field is named {name!r}, expected a text that is not empty")
        if value is None:
            continue
        if isinstance(value, list | tuple | set | frozenset):
            items = tuple(_scalar(name, item) for item in value if item is not None)
            if items:
                out[name] = items
        else:
            out[name] = _scalar(name, value)
    return out


# ---------------------------------------------------------------- the shell form

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<quoted>"(?:[^"\\]|\\.)*")
    | (?P<single>'[^']*')
    | (?P<sign>>=|<=|!=|==|=|>|<|\(|\)|,)
    | (?P<word>[^\s"'()<>=!,]+)
    )""",
    re.X,
)
_SIGNS: Final = {"=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_HOW: Final = "type for instance 'lang=en year>=2020 tag in a,b', or JSON: " + _SHAPE


def read(text: str) -> Filter:
    """A filter from what a user typed: JSON when it begins with ``{``, else tests side by side, all of which must hold.

    ``lang=en year>=2020 tag in a,b author exists source missing``; ``or`` and parentheses group. A bare value that reads as
    a number or as true/false is one; quotes make it a text. Raises InputError with the place that could not be read.
    """
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InputError(f"the filter is not valid JSON: {error}", remedy=_HOW) from None
        except RecursionError:
            raise _too_deep() from None
        check(value)
        return dict(value)
    tokens: list[tuple[str, str]] = []
    text, at = text.rstrip(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(f"the filter cannot be read at {text[at:].strip()[:20]!r}", remedy=_HOW)
        tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
        at = match.end()
    reader = _Reader(tokens)
    where = reader.either()
    if reader.at < len(tokens):
        raise InputError(f"the filter cannot be read at {reader.shown()!r}", remedy=_HOW)
    check(where)
    return where


class _Reader:
    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def shown(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else "the end"

    def word(self, text: str) -> bool:
        """Is the next token this word or sign? Then step over it."""
        if self.at < len(self.tokens) and self.tokens[self.at] in (("word", text), ("sign", text)):
            self.at += 1
            return True
        return False

    def either(self) -> dict[str, Any]:
        parts = [self.every()]
        while self.word("or"):
            parts.append(self.every())
        return parts[0] if len(parts) == 1 else {"any": parts}

    def every(self) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        while self.at < len(self.tokens) and self.tokens[self.at] not in (("word", "or"), ("sign", ")")):
            if self.word("("):
                self.depth += 1
                if self.depth > NESTED:
                    raise _too_deep()
                parts.append(self.either())
                self.depth -= 1
                if not self.word(")"):
                    raise InputError(f"the filter lacks a closing parenthesis before {self.shown()!r}", remedy=_HOW)
            else:
                parts.append(self.test())
            self.word("and")
        if not parts and self.tokens:
            raise InputError(f"the filter has no test before {self.shown()!r}", remedy=_HOW)
        merged: dict[str, Any] = {}
        rest: list[dict[str, Any]] = []
        for part in parts:
            name, tests = next(iter(part.items())) if len(part) == 1 else ("", None)
            if isinstance(tests, dict) and not set(tests) & set(merged.get(name, ())):
                merged.setdefault(name, {}).update(tests)
            else:
                rest.append(part)
        return {**merged, "all": rest} if rest and (merged or len(rest) > 1) else rest[0] if rest else merged

    def test(self) -> dict[str, Any]:
        name = self.text("a field's name")
        if self.word("exists"):
            return {name: {"exists": True}}
        if self.word("missing"):
            return {name: {"exists": False}}
        if self.word("in"):
            items = [self.value()]
            while self.word(","):
                items.append(self.value())
            return {name: {"in": items}}
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in _SIGNS:
            self.at += 1
            return {name: {_SIGNS[self.tokens[self.at - 1][1]]: self.value()}}
        raise InputError(
            f"after the field {name!r} the filter has {self.shown()!r}, expected = != > >= < <= in, exists or missing",
            remedy=_HOW,
        )

    def text(self, what: str) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "sign":
            raise InputError(f"the filter has {self.shown()!r}, expected {what}", remedy=_HOW)
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "quoted":
            try:
                return str(json.loads(text, strict=False))
            except ValueError:
                raise InputError(f"the quoted text {text} cannot be read", remedy="escape as in JSON") from None
        return text[1:-1] if kind == "single" else text

    def value(self) -> Scalar:
        kind = self.tokens[self.at][0] if self.at < len(self.tokens) else ""
        text = self.text("a value")
        if kind == "word":
            if text in ("true", "false"):
                return text == "true"
            if _NUMBER.fullmatch(text):
                number = json.loads(text)
                return number if isinstance(number, int) else float(number)
        return text


# ---------------------------------------------------------------- a predicate


def _key(value: Scalar) -> tuple[str, Scalar]:
    """Equal keys, equal values under the filters' strict types."""
    return ("b" if isinstance(value, bool) else "s" if isinstance(value, str) else "n", value)


def _compare(operator: str, item: Scalar, value: Scalar) -> bool:
    if _key(item)[0] != _key(value)[0]:
        return False
    if operator == "gt":
        return item > value  # type: ignore[operator]
    if operator == "gte":
        return item >= value  # type: ignore[operator]
    if operator == "lt":
        return item < value  # type: ignore[operator]
    return item <= value  # type: ignore[operator]


def _holds(node: Condition | Combination, metadata: Mapping[str, Any]) -> bool:
    if isinstance(node, Combination):
        found = (_holds(part, metadata) for part in node.parts)
        return any(found) if node.any else all(found)
    value = metadata.get(node.field)
    items: tuple[Scalar, ...] = () if value is None else value if isinstance(value, tuple) else (value,)
    if node.operator == "exists":
        return bool(items) is node.value
    if node.operator in ("eq", "ne"):
        wanted = _key(node.value)
        return any(_key(item) == wanted for item in items) is (node.operator == "eq")
    if node.operator == "in":
        among = {_key(item) for item in node.value}
        return any(_key(item) in among for item in items)
    return any(_compare(node.operator, item, node.value) for item in items)


def predicate(where: Filter | None) -> Callable[[Mapping[str, Any]], bool]:
    """A function that says whether metadata pass the filter."""
    node = check(where)
    return lambda metadata: _holds(node, clean(metadata))


# ---------------------------------------------------------------- columns and masks


class _Column:
    """One field: each distinct value (or list) is a code, each row has one; 0 is missing."""

    def __init__(self, rows: int, capacity: int) -> None:
        import numpy as np

        self.codes = np.zeros(capacity, np.int32)
        self.cells: list[Scalar | tuple[Scalar, ...]] = [()]
        self.code: dict[Any, int] = {}
        self.holders: dict[tuple[str, Scalar], list[int]] = {}
        """Item -> codes of the cells that hold it."""
        self._sorted: dict[str, tuple[list[Any], NDArray[np.int32]]] = {}

    def encode(self, cell: Scalar | tuple[Scalar, ...]) -> int:
        items = cell if isinstance(cell, tuple) else (cell,)
        key = tuple(map(_key, items)) if isinstance(cell, tuple) else _key(cell)
        code = self.code.get(key)
        if code is None:
            code = self.code[key] = len(self.cells)
            self.cells.append(cell)
            for item in dict.fromkeys(map(_key, items)):
                self.holders.setdefault(item, []).append(code)
            self._sorted = {}
        return code

    def between(self, operator: str, value: Scalar) -> NDArray[np.int32]:
        """Codes of the cells with an item that compares so; the items of each type are sorted once."""
        import numpy as np

        kind = _key(value)[0]
        found = self._sorted.get(kind)
        if found is None:
            pairs = sorted((item, code) for (k, item), codes in self.holders.items() if k == kind for code in codes)
            found = ([item for item, _ in pairs], np.array([code for _, code in pairs], np.int32))
            self._sorted = {**self._sorted, kind: found}
        items, codes = found
        if operator in ("gt", "gte"):
            return codes[(bisect.bisect_right if operator == "gt" else bisect.bisect_left)(items, value) :]
        return codes[: (bisect.bisect_left if operator == "lt" else bisect.bisect_right)(items, value)]


class Columns:
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

    def take(self, rows: NDArray[np.integer[Any]]) -> Columns:
        """New columns of these rows in this order, with dictionaries of what they hold only."""
        import numpy as np

        out = Columns()
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
        import numpy as np

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
            holders: Sequence[int] | NDArray[np.int32] = column.holders.get(_key(node.value), ())
        elif node.operator == "in":
            holders = [code for item in node.value for code in column.holders.get(_key(item), ())]
        else:
            holders = column.between(node.operator, node.value)
        out = _among(codes, holders, len(column.cells))
        return np.logical_not(out, out=out) if node.operator == "ne" else out

    def _reserve(self, rows: int) -> None:
        import numpy as np

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
    def restore(cls, rows: int, fields: Sequence[tuple[str, Sequence[Any], NDArray[np.int32]]]) -> Columns:
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
    import numpy as np

    if not len(holders):
        return np.zeros(len(codes), np.bool_)
    if len(holders) == 1:
        equal: NDArray[np.bool_] = codes == holders[0]
        return equal
    table = np.zeros(count, np.bool_)
    table[holders] = True
    return table[codes]


# ---------------------------------------------------------------- Elasticsearch


def field_name(name: str) -> str:
    """A metadata field's name inside an Elasticsearch object: dots would make objects of it."""
    return quote(name, safe="-_").replace(".", "%2E")


def as_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the typed fields that ``as_elasticsearch`` asks for: ``s.*`` keyword, ``n.*`` double, ``b.*`` boolean and
    ``has`` (keyword: the names of the fields). One field may so hold numbers here and texts there."""
    out: dict[str, dict[str, list[Scalar]]] = {"s": {}, "n": {}, "b": {}}
    cleaned = clean(metadata)
    for name, value in cleaned.items():
        for item in value if isinstance(value, tuple) else (value,):
            kind = _key(item)[0]
            out[kind].setdefault(field_name(name), []).append(item)
    return {**{kind: fields for kind, fields in out.items() if fields}, "has": sorted(cleaned)}


def as_elasticsearch(where: Filter | None) -> dict[str, Any]:
    """The filter in Elasticsearch's query DSL, over the fields that ``as_fields`` makes."""
    return _elastic(check(where))


def _elastic(node: Condition | Combination) -> dict[str, Any]:
    if isinstance(node, Combination):
        parts = [_elastic(part) for part in node.parts]
        if not parts:
            return {"match_none": {}} if node.any else {"match_all": {}}
        return {"bool": {"should": parts, "minimum_should_match": 1}} if node.any else {"bool": {"filter": parts}}
    name = field_name(node.field)
    if node.operator == "exists":
        present = {"term": {"has": {"value": node.field}}}
        return present if node.value else {"bool": {"must_not": [present]}}
    if node.operator in ("eq", "ne"):
        equal = {"term": {f"{_key(node.value)[0]}.{name}": {"value": node.value}}}
        return equal if node.operator == "eq" else {"bool": {"must_not": [equal]}}
    if node.operator == "in":
        by_kind: dict[str, list[Scalar]] = {}
        for item in node.value:
            by_kind.setdefault(_key(item)[0], []).append(item)
        parts = [{"terms": {f"{kind}.{name}": items}} for kind, items in by_kind.items()]
        return {"bool": {"should": parts, "minimum_should_match": 1}} if parts else {"match_none": {}}
    return {"range": {f"{_key(node.value)[0]}.{name}": {node.operator: node.value}}}


# ---------------------------------------------------------------- Postgres


def as_sql(where: Filter | None, column: str = "metadata") -> tuple[str, list[Any]]:
    """The filter as a Postgres condition over the JSONB column, with psycopg's ``%s`` placeholders and their values.

    Never null. ``eq`` and ``in`` are containments, which a GIN index with jsonb_path_ops answers; ranges are jsonpath, whose
    texts compare by code point.
    """
    values: list[Any] = []
    return _sql(check(where), column, values), values


_SQL_SIGN: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _sql(node: Condition | Combination, column: str, values: list[Any]) -> str:
    if isinstance(node, Combination):
        parts = [_sql(part, column, values) for part in node.parts]
        if not parts:
            return "FALSE" if node.any else "TRUE"
        return "(" + (" OR " if node.any else " AND ").join(parts) + ")"
    if node.operator == "exists":
        values += [node.field, node.field]
        missing = f"({column} -> %s IS NULL OR {column} -> %s IN ('null'::jsonb, '[]'::jsonb))"
        return f"NOT {missing}" if node.value else missing
    if node.operator in ("eq", "ne", "in"):
        items = node.value if node.operator == "in" else (node.value,)
        for item in items:
            values += [json.dumps({node.field: item}), json.dumps({node.field: [item]})]
        one = f"{column} @> %s::jsonb OR {column} @> %s::jsonb"
        found = "(" + " OR ".join([one] * len(items)) + ")" if items else "FALSE"
        return f"NOT {found}" if node.operator == "ne" else found
    values += [node.field, json.dumps({"v": node.value})]
    sign = _SQL_SIGN[node.operator]
    return f"COALESCE(jsonb_path_exists({column} -> %s, '$[*] ? (@ {sign} $v)', %s::jsonb), FALSE)"


# ---------------------------------------------------------------- Qdrant


def as_qdrant(where: Filter | None, under: str = "metadata") -> dict[str, Any]:
    """The filter as Qdrant's (REST form), over the payload's object ``under``.

    Raises Unsupported for a range over texts that are not ISO 8601 dates: Qdrant compares numbers and dates only.
    """
    return {"must": [_qdrant(check(where), under)]}


def _qdrant(node: Condition | Combination, under: str) -> dict[str, Any]:
    if isinstance(node, Combination):
        parts = [_qdrant(part, under) for part in node.parts]
        if not parts:
            return {"has_id": []} if node.any else {"must": []}
        return {"should" if node.any else "must": parts}
    path = f'{under}."{node.field}"'
    if node.operator == "exists":
        missing = {"is_empty": {"key": path}}
        return {"must_not": [missing]} if node.value else missing
    if node.operator in ("eq", "ne"):
        equal = _qdrant_equal(path, node.value)
        return {"must_not": [equal]} if node.operator == "ne" else equal
    if node.operator == "in":
        texts = [item for item in node.value if isinstance(item, str)]
        parts = [_qdrant_equal(path, item) for item in node.value if not isinstance(item, str)]
        parts += [{"key": path, "match": {"any": texts}}] if texts else []
        return {"should": parts} if parts else {"has_id": []}
    if isinstance(node.value, str) and not _is_date(node.value):
        raise Unsupported(
            f"Qdrant compares numbers and dates, not texts: {node.field} {node.operator} {node.value!r}",
            remedy="keep a number or an ISO 8601 date in that field, or use another index",
            code="unsupported-filter",
        )
    return {"key": path, "range": {node.operator: node.value}}


def _qdrant_equal(path: str, value: Scalar) -> dict[str, Any]:
    # Qdrant's match knows no floats, and 2020 is 2020.0 here: numbers are matched as a range of one value.
    if isinstance(value, str | bool):
        return {"key": path, "match": {"value": value}}
    return {"key": path, "range": {"gte": value, "lte": value}}


def _is_date(text: str) -> bool:
    from datetime import datetime

    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
