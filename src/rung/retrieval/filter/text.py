"""A filter from what a user typed: JSON, or tests side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from rung.core.errors import InputError
from rung.core.protocols import Filter
from rung.retrieval.filter.conditions import NESTED, SHAPE, Scalar, check, too_deep

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
_HOW: Final = "type for instance 'lang=en year>=2020 tag in a,b', or JSON: " + SHAPE


def read(text: str) -> Filter:
    """A filter from what a user typed: JSON when it begins with ``{``, else tests side by side, all of which must hold.

    ``lang=en year>=2020 tag in a,b author exists source missing``; ``or`` and parentheses group. A bare value that
    reads as a number or as true/false is one; quotes make it a text. Raises InputError with the place that could not be
    read.
    """
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InputError(f"the filter is not valid JSON: {error}", remedy=_HOW) from None
        except RecursionError:
            raise too_deep() from None
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
                    raise too_deep()
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
