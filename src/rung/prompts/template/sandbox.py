"""Jinja2 with everything taken out that a prompt does not need: a template is data that somebody sent, not a program.

No imports, macros, block assignments or attributes of Python objects; a short list of filters and methods; loops, values and
results are limited, so that no template can fill the memory or run for long (sandbox: jinja.palletsprojects.com/sandbox).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rung.core.errors import InputError

LONGEST = 1_000_000
"""Characters of a value, of an intermediate result, and of a rendered text."""
STEPS = 100_000
"""Items that all loops of one rendering may go through."""

_FORBIDDEN: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from ... import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter blocks",
    nodes.AssignBlock: "set blocks",
    nodes.Concat: "~ (write the values side by side)",
}
_METHODS = frozenset(
    [
        "lower",
        "upper",
        "title",
        "capitalize",
        "strip",
        "lstrip",
        "rstrip",
        "startswith",
        "endswith",
        "split",
        "splitlines",
        "items",
        "keys",
        "values",
        "get",
    ]
)


class Trusted(str):
    """Text of the prompt's author: written as it is, where everything else is escaped."""

    __slots__ = ()


class _Budget(threading.local):
    left = STEPS


_budget = _Budget()


def _refuse(said: str) -> NoReturn:
    raise SecurityError(said)


def _checked(value: Any) -> Any:
    if isinstance(value, str | list | tuple | dict) and len(value) > LONGEST:
        _refuse(f"a value grew beyond {LONGEST:,} characters or items")
    if isinstance(value, int) and value.bit_length() > 4096:
        _refuse("a number grew beyond 4,096 bits")
    return value


def _walk(value: Any) -> Any:
    """What a loop goes through, counted."""
    if isinstance(value, str):
        _refuse("a loop over the characters of a text")
    if not isinstance(value, Sequence | Mapping | range | set | frozenset):
        value = list(value)
    _budget.left -= len(value) + 1
    if _budget.left < 0:
        _refuse(f"loops over more than {STEPS:,} items")
    return value


def _few(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > 1000:
        _refuse(f"range() of {len(numbers):,} numbers, at most 1,000 are allowed")
    return numbers


def _weigh(value: Any, left: int = LONGEST) -> int:
    """Characters that a structure takes as JSON, or an error: the same list may stand in it a million times."""
    if isinstance(value, str):
        left -= len(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            left = _weigh(item, left - len(str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            left = _weigh(item, left - 1)
    else:
        left -= 1
    if left < 0:
        _refuse(f"a value grew beyond {LONGEST:,} characters")
    return left


def _tojson(value: Any, indent: int | None = None) -> str:
    _weigh(value)
    return json.dumps(value, ensure_ascii=False, indent=None if indent is None else min(int(indent), 8))


def _join(value: Any, between: str = "", attribute: str | None = None) -> str:
    items = [item[attribute] if attribute is not None else item for item in _walk(value)]
    _weigh(items)
    if any(isinstance(item, list | tuple | Mapping) for item in items):
        _refuse("join of lists within lists")
    if len(between) * len(items) > LONGEST:
        _refuse(f"a value grew beyond {LONGEST:,} characters")
    return str(between).join(map(str, items))


def _replace(value: Any, old: str, new: str) -> str:
    text = _string(value)
    if len(text) + text.count(old) * len(new) > LONGEST:
        _refuse(f"a value grew beyond {LONGEST:,} characters")
    return text.replace(str(old), str(new))


def _string(value: Any) -> str:
    if not isinstance(value, str | int | float | bool):
        _refuse(f"a {type(value).__name__} where a text is wanted: write it with tojson or join")
    return str(value)


def _truncate(value: Any, length: int = 255, end: str = "...") -> str:
    text = _string(value)
    return text if len(text) <= length else text[: max(0, int(length) - len(end))].rstrip() + end


def _standard(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = jinja2.filters.FILTERS[name]
    return found


_FILTERS: dict[str, Callable[..., Any]] = {
    **{
        name: _standard(name)
        for name in [
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
            "round",
            "select",
            "selectattr",
            "sort",
            "title",
            "trim",
            "unique",
            "upper",
            "wordcount",
        ]
    },
    "tojson": _tojson,
    "join": _join,
    "replace": _replace,
    "string": _string,
    "truncate": _truncate,
    "_walk": _walk,
}


class Sandbox(ImmutableSandboxedEnvironment):
    """``escape`` is applied to every value that is written, save numbers and what is Trusted."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, escape: Callable[[str], str] = str) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            autoescape=False,
            finalize=lambda value: _written(value, escape),
            keep_trailing_newline=True,
        )
        self.globals = {"range": _few}
        self.filters = _FILTERS

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*" and any(isinstance(side, str | list | tuple) for side in (left, right)):
            _refuse("a text or list times a number")
        if operator == "%" and isinstance(left, str):
            _refuse("% formatting")
        if operator == "**" and (abs(left) > 1_000_000 or abs(right) > 100):
            _refuse("too large a power")
        return _checked(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> None:
        """No formatted widths: ``format`` is then an attribute like others, which is not safe."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr in _METHODS if callable(value) else super().is_safe_attribute(obj, attr, value)


def _written(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, Trusted):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, jinja2.Undefined):
        return value  # StrictUndefined raises when it is written
    if isinstance(value, bool | int | float):
        return value
    return escape(_string(value))


# ---------------------------------------------------------------- parsing


_plain = Sandbox()


@lru_cache(maxsize=512)
def parse(source: str, file: str = "", line: int = 1) -> nodes.Template:
    """The syntax tree of a template. Raises InputError with file and line (``line`` is where ``source`` begins)."""
    if "\0" in source:
        raise InputError("the template holds a NUL character", remedy="remove it", file=file or None, line=line)
    try:
        tree = _plain.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            f"template: {error.message}",
            remedy="see the Jinja2 syntax: {{ value }}, {% if %}, {% for %}; text in {% raw %}...{% endraw %} is left alone",
            file=file or None,
            line=line + error.lineno - 1,
        ) from None
    except RecursionError:
        raise InputError("template: nested too deeply", remedy="simplify it", file=file or None, line=line) from None
    for node in _nodes(tree):
        what = _FORBIDDEN.get(type(node))
        if isinstance(node, nodes.For) and node.recursive:
            what = "recursive loops"
        if isinstance(node, nodes.Filter) and (node.name.startswith("_") or node.name not in _FILTERS):
            raise InputError(
                f"template: there is no filter {node.name!r}",
                remedy=f"filters: {', '.join(sorted(name for name in _FILTERS if name != '_walk'))}",
                file=file or None,
                line=line + node.lineno - 1,
            )
        if (hidden := _hidden(node)) is not None:
            what = f"the attribute {hidden!r}"
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range":
            bounds = [bound.value for bound in node.args if isinstance(bound, nodes.Const)]
            if bounds and len(bounds) == len(node.args) and all(type(bound) is int for bound in bounds):
                what = "range() of more than 1,000 numbers" if max(map(abs, bounds)) > 1000 else what
        if what:
            raise InputError(
                f"template: {what} may not be used in prompts",
                remedy="use values, {% if %} and {% for %}; a prompt inherits by `root:` in its front matter",
                file=file or None,
                line=line + node.lineno - 1,
            )
    return tree


def _hidden(node: nodes.Node) -> str | None:
    """The name of an attribute or item that begins with an underscore: what a way out of a sandbox begins with. One that is only made
    when the template is rendered is refused there."""
    name = node.attr if isinstance(node, nodes.Getattr) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value
    return name if isinstance(name, str) and name.startswith("_") else None


def _nodes(tree: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def names(source: str) -> dict[str, int]:
    """The variables that a template reads and the first line (from 1) where each stands."""
    from jinja2.meta import find_undeclared_variables

    tree = parse(source)
    found = find_undeclared_variables(tree) - {"range"}
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in found:
            lines[node.name] = min(lines.get(node.name, node.lineno), node.lineno)
    return lines


def bare(source: str, name: str) -> bool:
    """Whether ``name`` stands in the template only as ``{{ name }}``, outside of conditions, loops and filters."""
    tree = parse(source)
    direct = {
        id(node)
        for output in tree.body
        if isinstance(output, nodes.Output)
        for node in output.nodes
        if isinstance(node, nodes.Name)
    }
    return all(id(node) in direct for node in tree.find_all(nodes.Name) if node.name == name)


# ---------------------------------------------------------------- rendering


@lru_cache(maxsize=512)
def _compiled(source: str, escape: Callable[[str], str]) -> jinja2.Template:
    parse(source)  # refuses what prompts may not use
    environment = Sandbox(escape)
    tree = environment.parse(source)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_walk", [], [], None, None, lineno=loop.lineno)
    tree.set_environment(environment)
    return environment.from_string(tree)


def render(source: str, values: Mapping[str, Any], escape: Callable[[str], str] = str) -> str:
    """The template with its values. Raises InputError: a value is missing, or the template did what prompts may not."""
    template = _compiled(source, escape)
    _budget.left = STEPS
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate(dict(values)):
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST:
                _refuse(f"the text grew beyond {LONGEST:,} characters")
    except jinja2.UndefinedError as error:
        raise InputError(f"template: {error.message}", remedy="give the value, or declare a default") from None
    except SecurityError as error:
        raise InputError(
            f"template: {error}", remedy="prompts may use values, conditions, loops and the listed filters"
        ) from None
    except RecursionError:
        raise InputError("template: nested too deeply", remedy="simplify it") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, jinja2.TemplateError) as error:
        raise InputError(
            f"template: {type(error).__name__}: {error}", remedy="correct the expression, or the value's type"
        ) from None
    return "".join(pieces)
