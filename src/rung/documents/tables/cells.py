"""Values inside rows: a column, a path into nested values, or several columns as one JSON text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

ABSENT = cast(Any, object())
"""What ``value`` gives for a column that is not there."""
_JSON = re.compile(r"json\(([^()]+)\)")


class LostPathError(Exception):
    """A path leads nowhere; the message says where it ends."""


def segments(path: str) -> list[str]:
    """``data[].qas[]`` as ["data", "[]", "qas", "[]"]."""
    return [part for part in re.split(r"\.|(\[\])", path) if part]


def heads(column: str) -> list[str]:
    """The columns that a column's name or path begins at: for ``a.b`` that is a, for ``json(a, b.c)`` a and b."""
    parts = found[1].split(",") if (found := _JSON.fullmatch(column)) else [column]
    return [re.split(r"[.\[]", part.strip())[0] for part in parts]


def value(values: Mapping[str, Any], column: str) -> Any:
    """A row's value: the column of that name, the path ``a.b`` / ``a[].b`` into nested values, or ``json(a, b)``: those
    columns (or paths) as one JSON object, written as text. ABSENT when it is not there."""
    if column in values:
        return values[column]
    if found := _JSON.fullmatch(column):
        inside = {name: value(values, name) for name in (part.strip() for part in found[1].split(","))}
        kept = {name: item for name, item in inside.items() if item is not ABSENT}
        return json.dumps(kept, ensure_ascii=False) if kept else ABSENT
    if "." not in column and "[" not in column:
        return ABSENT
    reached: list[Any] = [values]
    several = False
    for segment in segments(column):
        if segment == "[]":
            several = True
            reached = [inner for item in reached if isinstance(item, list) for inner in item]
        else:
            reached = [item[segment] for item in reached if isinstance(item, Mapping) and segment in item]
    if several:
        return reached
    return reached[0] if reached else ABSENT


def walk(document: Any, path: Sequence[str], above: Mapping[str, Any]) -> Iterator[Any]:
    """Rows at the end of ``path``; an object inherits the plain values of the objects it lies in. Raises
    LostPathError."""
    if not path or path == ["[]"]:
        if not isinstance(document, list):
            keys = f" with the keys {', '.join(list(document)[:12])}" if isinstance(document, dict) else ""
            raise LostPathError(f"expected a list of rows, got a {type(document).__name__}{keys}")
        for item in document:
            yield {**above, **item} if isinstance(item, dict) and above else item
        return
    head, rest = path[0], path[1:]
    if head == "[]":
        if not isinstance(document, list):
            raise LostPathError(f"expected a list before `[]`, got a {type(document).__name__}")
        for item in document:
            yield from walk(item, rest, above)
        return
    if not isinstance(document, dict) or head not in document:
        there = (
            ", ".join(list(document)[:12]) if isinstance(document, dict) else f"none, it is a {type(document).__name__}"
        )
        raise LostPathError(f"there is no `{head}` where the path leads; the keys there: {there}")
    plain = {key: item for key, item in document.items() if isinstance(item, str | int | float | bool)}
    yield from walk(document[head], rest, {**above, **plain})


# ---------------------------------------------------------------- JSON


def loads(text: str, *, strict: bool = True) -> Any:
    """A JSON value, with a question mark for each half of a surrogate pair that stands alone: no file could hold it.
    NaN and Infinity are refused unless ``strict`` is False. Raises ValueError or RecursionError."""
    value = json.loads(text, parse_constant=_constant if strict else None, object_pairs_hook=_object)
    if "\\ud" in text or "\\uD" in text:
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {name[:80]!r} stands in one object twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def complaint(error: Exception) -> str:
    """What is wrong with a JSON text, by the error that ``loads`` raised."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def is_lines(text: str) -> bool:
    """Whether what is called JSON is JSON Lines: its first line is an object of its own."""
    try:
        return isinstance(loads(text.lstrip().partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False
