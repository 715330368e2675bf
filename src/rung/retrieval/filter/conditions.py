"""Metadata filters: one record (``core.protocols.Filter``) in a checked form, answered everywhere alike: as a predicate
here, as a boolean mask over columns (columns.py), and by each server in its own language (index/backends).

What holds where: types are strict (2020 is not "2020", true is not 1; 2020 is 2020.0). A null or an empty list is a
missing field. Texts compare by code point, so dates written as ISO 8601 sort as they should. Each operator of a field
is a test of its own: a list passes ``{"gte": 3, "lt": 5}`` when one item is >= 3 and one item, maybe another, is < 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rung.core.errors import InputError
from rung.core.protocols import Filter

if TYPE_CHECKING:
    pass

Scalar = str | int | float | bool
OPERATORS: Final = ("eq", "ne", "in", "gt", "gte", "lt", "lte", "exists")
NESTED: Final = 50
"""Groups inside groups at most."""
SHAPE: Final = '{"lang": "en", "year": {"gte": 2020}, "tag": {"in": ["a", "b"]}}'


# ---------------------------------------------------------------- the checked form


@dataclass(frozen=True, slots=True)
class Condition:
    """One field, one operator. ``value`` is a scalar, a tuple of scalars (``in``) or a boolean (``exists``)."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Combination:
    """Holds when every part does, or, where ``any`` is set, when one does. No parts: all of nothing holds, any of it
    not."""

    parts: tuple[Condition | Combination, ...]
    any: bool = False


def check(where: Filter | None, depth: int = 0) -> Combination:
    """A filter in its checked form. Raises InputError that says which field or operator is wrong."""
    if where is None:
        return Combination(())
    if depth > NESTED:
        raise too_deep()
    if not isinstance(where, Mapping):
        raise InputError(f"a filter is a mapping of fields, got {where!r}", remedy=f"type for instance {SHAPE}")
    parts: list[Condition | Combination] = []
    for name, wanted in where.items():
        if not isinstance(name, str) or not name:
            raise InputError(f"a filter's fields are named by texts, got {name!r}", remedy=f"type for instance {SHAPE}")
        if name in ("any", "all") and isinstance(wanted, list | tuple):
            parts.append(Combination(tuple(check(item, depth + 1) for item in wanted), any=name == "any"))
        elif isinstance(wanted, Mapping):
            if not wanted:
                raise InputError(f"the filter of field {name!r} is empty", remedy=f"operators: {', '.join(OPERATORS)}")
            parts.extend(_test(name, operator, value) for operator, value in wanted.items())
        else:
            parts.append(_test(name, "eq", wanted))
    return Combination(tuple(parts))


def too_deep() -> InputError:
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


# ---------------------------------------------------------------- a predicate


def typed(value: Scalar) -> tuple[str, Scalar]:
    """Equal keys, equal values under the filters' strict types."""
    return ("b" if isinstance(value, bool) else "s" if isinstance(value, str) else "n", value)


def _compare(operator: str, item: Scalar, value: Scalar) -> bool:
    if typed(item)[0] != typed(value)[0]:
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
        wanted = typed(node.value)
        return any(typed(item) == wanted for item in items) is (node.operator == "eq")
    if node.operator == "in":
        among = {typed(item) for item in node.value}
        return any(typed(item) in among for item in items)
    return any(_compare(node.operator, item, node.value) for item in items)


def predicate(where: Filter | None) -> Callable[[Mapping[str, Any]], bool]:
    """A function that says whether metadata pass the filter."""
    node = check(where)
    return lambda metadata: _holds(node, clean(metadata))
