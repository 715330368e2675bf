"""The environment that templates run in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rung.foundations.sandbox.work import TABLES, Dialect, few, join, metered, paid, refuse, replace, string, weigh

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
_CHAT_METHODS = _METHODS | frozenset(
    [
        "join",
        "replace",
        "find",
        "rfind",
        "count",
        "index",
        "rsplit",
        "partition",
        "rpartition",
        "removeprefix",
        "removesuffix",
        "isdigit",
        "isalpha",
        "isspace",
        "isupper",
        "islower",
        "isalnum",
        "isnumeric",
        "isdecimal",
        "copy",
    ]
)


class Trusted(str):
    """Text of the prompt's author: written as it is, where everything else is escaped."""

    __slots__ = ()


class Sandbox(ImmutableSandboxedEnvironment):
    """``escape`` is applied to every value that a prompt writes, save numbers and what is Trusted."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, dialect: Dialect = "prompt", escape: Callable[[str], str] = str) -> None:
        chat = dialect == "chat"
        super().__init__(
            undefined=jinja2.Undefined if chat else jinja2.StrictUndefined,
            autoescape=False,
            finalize=_printed if chat else lambda value: _written(value, escape),
            keep_trailing_newline=not chat,
            trim_blocks=chat,
            lstrip_blocks=chat,
            optimized=False,
            extensions=["jinja2.ext.loopcontrols"] if chat else [],
        )
        self.dialect: Dialect = dialect
        self.methods = _CHAT_METHODS if chat else _METHODS
        self.globals = {"range": few}
        if chat:
            self.globals |= {"namespace": jinja2.utils.Namespace, "raise_exception": _raise, "dict": dict}
        self.filters = TABLES[dialect]
        tests: Any = self.tests
        self.tests = {name: metered(test) for name, test in tests.items() if name not in ("filter", "test")}

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*" and any(isinstance(side, str | list | tuple) for side in (left, right)):
            refuse("a text or list times a number")
        if operator == "%" and isinstance(left, str):
            refuse("% formatting")
        if operator == "**" and (abs(left) > 1_000_000 or abs(right) > 100):
            refuse("too large a power")
        weigh(left)
        weigh(right)
        return paid(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
        for value in (*args, *given.values()):
            weigh(value)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | Mapping | list | tuple):
            weigh(owner)
            if isinstance(owner, str) and __obj.__name__ == "replace":
                return paid(replace(owner, *args, **given))
            if isinstance(owner, str) and __obj.__name__ == "join":
                return paid(join(args[0] if args else None, owner))
        return paid(super().call(__context, __obj, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        if not isinstance(argument, str | int | float | jinja2.Undefined):
            refuse(f"a {type(argument).__name__} as a key")
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Any) -> None:
        """No formatted widths: ``format`` is then an attribute like others, which is not safe."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(value, jinja2.runtime.Macro):
            return True
        return attr in self.methods if callable(value) else super().is_safe_attribute(obj, attr, value)


def _raise(message: Any) -> NoReturn:
    raise jinja2.TemplateError(str(message)[:500])


def _written(value: Any, escape: Callable[[str], str]) -> Any:
    weigh(value)
    if isinstance(value, Trusted):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, jinja2.Undefined):
        return value  # StrictUndefined raises when it is written
    if isinstance(value, bool | int | float):
        return value
    return escape(string(value))


def _printed(value: Any) -> Any:
    weigh(value)
    return value
