"""What a rendering pays, and the filters: each pays for the size of what it reads and makes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Literal, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError

Dialect = Literal["prompt", "chat"]
"""``chat`` is what the chat templates of models are written in: macros, namespaces and set blocks too."""

LONGEST = 1_000_000
"""Characters of a value, of an intermediate result, and of a rendered text."""
WORK = 1_000_000
"""Units that one rendering may use: a unit is a node that is evaluated, or eight characters or one item that is
moved."""

_STANDARD = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "title",
    "trim",
    "unique",
    "upper",
    "wordcount",
]
_CHAT = ["safe", "sum", "groupby", "escape", "e"]
HIDDEN = frozenset({"_walk", "_compare", "_slice", "_build", "_concat", "_pay"})
"""Filters that the rewritten tree calls; none can be written."""


class _Budget(threading.local):
    left = WORK


budget = _Budget()


def refuse(said: str) -> NoReturn:
    raise SecurityError(said)


def pay(units: int) -> None:
    budget.left -= units
    if budget.left < 0:
        refuse(f"it does more work than {WORK:,} steps")


def weigh(value: Any) -> int:
    """Units to read a value whole, paid: the same list may stand in it a million times."""
    total = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | bytes):
            if len(item) > LONGEST:
                refuse(f"a value grew beyond {LONGEST:,} characters")
            cost = 1 + len(item) // 8
        elif isinstance(item, Mapping):
            cost = 1 + 2 * len(item)
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            cost = 1 + len(item)
            waiting += item
        elif isinstance(item, int):
            if item.bit_length() > 4096:
                refuse("a number grew beyond 4,096 bits")
            cost = 1
        else:
            cost = 1
        pay(cost)
        total += cost
    return total


def paid(value: Any) -> Any:
    """A result, its size paid; what comes item by item is paid as it comes."""
    if isinstance(value, Iterator):
        return _paid_items(value)
    weigh(value)
    return value


def _paid_items(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        weigh(item)
        yield item


# ---------------------------------------------------------------- what the rewritten tree calls


def _walk(value: Any, each: int) -> Any:
    """What a loop goes through; ``each`` is what one turn of the loop costs."""
    if isinstance(value, str):
        refuse("a loop over the characters of a text")
    if isinstance(value, jinja2.Undefined):
        return value
    if not isinstance(value, Sequence | Mapping | range | set | frozenset):
        value = list(value)
    pay((len(value) + 1) * each)
    return value


_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lteq": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gteq": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}


def _compare(left: Any, operator: str, right: Any) -> Any:
    weigh(left)
    weigh(right)
    return _COMPARISONS[operator](left, right)


def _slice(value: Any, start: Any, stop: Any, step: Any) -> Any:
    weigh(value)
    return value[start:stop:step]


def _concat(*values: Any) -> str:
    return str(paid("".join(str(paid(value)) for value in values)))


def few(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > 1000:
        refuse(f"range() of {len(numbers):,} numbers, at most 1,000 are allowed")
    return numbers


# ---------------------------------------------------------------- filters


def _tojson(
    value: Any, indent: int | None = None, ensure_ascii: bool = False, separators: Any = None, sort_keys: bool = False
) -> str:
    weigh(value)
    indent = None if indent is None else max(0, min(int(indent), 8))
    separators = tuple(map(str, separators)) if separators is not None else None
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_unwritable,
    )


def _unwritable(value: Any) -> str:
    if isinstance(value, jinja2.StrictUndefined):
        str(value)  # raises, and says which name there is not
    raise TypeError(f"a {type(value).__name__} is no value of JSON")


def join(value: Any, between: str = "", attribute: str | None = None) -> str:
    items = list(_walk(value, 1) if not isinstance(value, str) else value)
    items = [item[attribute] for item in items] if attribute is not None else items
    if any(isinstance(item, list | tuple | Mapping) for item in items):
        refuse("join of lists within lists")
    pay(len(items) * (1 + len(str(between)) // 8) + weigh(items))
    return str(between).join(map(str, items))


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = string(value)
    if len(text) + text.count(str(old)) * len(str(new)) > LONGEST:
        refuse(f"a value grew beyond {LONGEST:,} characters")
    return text.replace(str(old), str(new), count if count is not None else -1)


def string(value: Any) -> str:
    if not isinstance(value, str | int | float | bool):
        refuse(f"a {type(value).__name__} where a text is wanted: write it with tojson or join")
    return str(value)


def _truncate(value: Any, length: int = 255, end: str = "...") -> str:
    text = string(value)
    return text if len(text) <= length else text[: max(0, int(length) - len(end))].rstrip() + end


def _round(value: Any, precision: int = 0, method: str = "common") -> Any:
    if not isinstance(value, int | float) or not -15 <= int(precision) <= 15:
        refuse(f"round to {str(precision)[:20]} digits, from -15 to 15 are allowed")
    return jinja2.filters.do_round(value, int(precision), method)  # type: ignore[arg-type]


def _indent(text: Any, width: Any = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * max(0, min(int(width), 64))
    pay(string(text).count("\n") * (1 + len(margin) // 8))
    return jinja2.filters.do_indent(string(text), margin, first, blank)


_INTERNAL = (jinja2.runtime.Context, jinja2.Environment, nodes.EvalContext)
"""What Jinja itself hands to a filter that asks for it."""


def metered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test that pays for what it reads and makes; what ``map`` and ``select`` give item by item it gets as
    a list. Sorting and its like read it more than once."""
    factor = 16 if function.__name__ in ("do_sort", "do_dictsort", "do_unique", "do_max", "do_min", "do_groupby") else 1

    @wraps(function)
    def run(*values: Any, **options: Any) -> Any:
        given = [list(value) if isinstance(value, Iterator) else value for value in values]
        for value in (*given, *options.values()):
            if isinstance(value, str | Mapping | list | tuple | set | frozenset | int) and not isinstance(
                value, _INTERNAL
            ):
                pay((factor - 1) * weigh(value))
        return paid(function(*given, **options))

    return run


def _table(dialect: Dialect) -> dict[str, Callable[..., Any]]:
    standard = [*_STANDARD, *(_CHAT if dialect == "chat" else ())]
    filters: dict[str, Callable[..., Any]] = {name: jinja2.filters.FILTERS[name] for name in standard}
    filters |= {
        "tojson": _tojson, "join": join, "replace": replace, "string": string, "truncate": _truncate, "round": _round,
        "indent": _indent,
    }  # fmt: skip
    if dialect == "chat":
        filters["string"] = str
    table = {name: metered(function) for name, function in filters.items()}
    return {
        **table,
        "_walk": _walk,
        "_compare": _compare,
        "_slice": _slice,
        "_build": paid,
        "_concat": _concat,
        "_pay": pay,
    }


TABLES: dict[Dialect, dict[str, Callable[..., Any]]] = {"prompt": _table("prompt"), "chat": _table("chat")}
