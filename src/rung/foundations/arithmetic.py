"""Arithmetic from text, worked out in fractions by a parser of its own: nothing is ever evaluated as Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rung.core.errors import InputError

LONGEST = 200
"""Characters of a sum."""
DEEPEST = 40
"""Brackets and signs inside one another."""
_LARGEST, _WIDEST = 10**300, 10**400
"""The largest result, and the largest numerator and denominator on the way."""

Value = Fraction | float
"""A float where the result is no fraction (a root): from there on it is approximate."""


def evaluate(text: str) -> Value:
    """The value of ``text``: numbers, + - * / // % **, brackets, abs ceil floor max min round sqrt.

    ``^`` is a power, ``x``, ``×`` and ``·`` between numbers are times, ``÷`` is divided by; thousands' commas (outside
    of functions), currency signs and a trailing ``=`` are dropped; ``30%`` is 0.3. Raises InputError (code
    ``arithmetic``) for anything else, a division by zero, or a result above 1e300.
    """
    plain = text.strip().rstrip("=").strip()
    if not plain or len(plain) > LONGEST:
        raise InputError(
            f"got {text[:60]!r}, expected arithmetic of 1 to {LONGEST} characters",
            remedy="write 12 * (3 + 4)",
            code="arithmetic",
        )
    try:
        return _Parser(plain).whole()
    except ZeroDivisionError:
        why, remedy = "it divides by zero", "divide by another number"
    except (ValueError, ArithmeticError, TypeError) as error:
        why, remedy = str(error), "write numbers and + - * / ( )"
    raise InputError(f"cannot calculate {text[:60]!r}: {why}", remedy=remedy, code="arithmetic")


def calculate(text: str) -> str:
    """The value of ``text`` (see ``evaluate``) in words: exact, as a whole number, a decimal (``2.5``) or a fraction
    with its value beside it (``1/3 (about 0.3333333333)``); what is no fraction is ``about 1.414213562``."""
    value = evaluate(text)
    if isinstance(value, float):
        return f"about {value:.10g}"
    if value.denominator == 1:
        return str(value.numerator)
    twos, fives, rest = 0, 0, value.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value} (about {float(value):.10g})"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _root(value: Value) -> Value:
    if value < 0:
        raise ValueError("the root of a negative number is no number")
    if isinstance(value, float):
        return math.sqrt(value)
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    exact = top * top == value.numerator and bottom * bottom == value.denominator
    return Fraction(top, bottom) if exact else math.sqrt(value)


def _rounded(value: Value, digits: Value = Fraction(0)) -> Value:
    if not isinstance(digits, Fraction) or digits.denominator != 1 or abs(digits) > 20:
        raise ValueError("it can be rounded to -20 to 20 digits")
    return Fraction(round(Fraction(value), int(digits)))


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        size = max(abs(base.numerator), base.denominator).bit_length()
        if abs(exponent) * (size - 1) > _WIDEST.bit_length():
            raise ValueError("the power is too large")
        return Fraction(base ** int(exponent))
    if exponent == Fraction(1, 2):
        return _root(base)
    found: float | complex = float(base) ** float(exponent)
    if isinstance(found, complex):
        raise ValueError("the power is no real number")
    return found


_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (abs, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "floor": (math.floor, 1, 1),
    "max": (max, 1, 50),
    "min": (min, 1, 50),
    "round": (_rounded, 1, 2),
    "sqrt": (_root, 1, 1),
}
"""The function, and the fewest and most arguments that it takes."""

_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?")
_SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "x": "*", "X": "*"}
_CURRENCY = "$€£¥"


class _Parser:
    """Recursive descent over the text, with Python's precedence: ``**`` binds to the right and above a sign before
    it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.calls = 0

    def whole(self) -> Value:
        value = self.sum()
        if self.at < len(self.text):
            raise ValueError(f"there is something unexpected at {self.text[self.at : self.at + 12]!r}")
        return value

    def skip(self) -> str:
        """Go to the next character that means something; empty at the end."""
        while self.at < len(self.text) and (self.text[self.at].isspace() or self.text[self.at] in _CURRENCY):
            self.at += 1
        return self.text[self.at : self.at + 1]

    def take(self, *operators: str) -> str:
        """Read one of the operators if it is next, the longer first; else nothing."""
        sign = self.skip()
        two = self.text[self.at : self.at + 2]
        found = two if two in ("**", "//") else _SIGNS.get(sign, sign)
        if found not in operators:
            return ""
        self.at += 2 if found == two else 1
        return found

    def sum(self) -> Value:
        value = self.product()
        while operator := self.take("+", "-"):
            other = self.product()
            value = _bounded(value + other if operator == "+" else value - other)
        return value

    def product(self) -> Value:
        value = self.signed()
        while operator := self.take("*", "/", "//", "%"):
            other = self.signed()
            if operator == "*":
                value = value * other
            elif operator == "/":
                value = value / other
            else:
                value = Fraction(value // other) if operator == "//" else value % other
            value = _bounded(value)
        return value

    def signed(self) -> Value:
        if not (operator := self.take("+", "-")):
            return self.power()
        self.enter()
        value = self.signed()
        self.depth -= 1
        return -value if operator == "-" else value

    def power(self) -> Value:
        base = self.percent()
        return _bounded(_power(base, self.signed())) if self.take("**") else base

    def percent(self) -> Value:
        value = self.atom()
        if self.skip() == "%" and not re.match(r"%\s*[\d.(a-z]", self.text[self.at :]):
            self.at += 1
            value = value / 100
        return value

    def atom(self) -> Value:
        sign = self.skip()
        if self.take("("):
            return self.bracket()
        number = (None if self.calls else _GROUPED.match(self.text, self.at)) or _NUMBER.match(self.text, self.at)
        if number:
            self.at = number.end()
            return _bounded(Fraction(number[0].replace(",", "")))
        name = re.compile(r"[a-z]+").match(self.text, self.at)
        if name is None or name[0] not in _FUNCTIONS:
            raise ValueError(f"only numbers and arithmetic are read, got {self.text[self.at : self.at + 12] or sign!r}")
        self.at = name.end()
        return self.function(name[0])

    def bracket(self) -> Value:
        self.enter()
        value = self.sum()
        if not self.take(")"):
            raise ValueError("a bracket is not closed")
        self.depth -= 1
        return value

    def function(self, name: str) -> Value:
        function, fewest, most = _FUNCTIONS[name]
        if not self.take("("):
            raise ValueError(f"{name} needs brackets")
        self.enter()
        self.calls += 1
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        if not self.take(")") or not fewest <= len(arguments) <= most:
            raise ValueError(f"{name} takes {fewest if fewest == most else f'{fewest} to {most}'} numbers in brackets")
        self.calls -= 1
        self.depth -= 1
        found = function(*arguments)
        return _bounded(Fraction(found) if isinstance(found, int) else found)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError("it is nested too deeply")


def _bounded(value: Value) -> Value:
    """Refuse what would take long to work on: powers of powers grow without end."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("the result is not a number of reasonable size")
        return value
    if max(abs(value.numerator), value.denominator) > _WIDEST or abs(value) > _LARGEST:
        raise ValueError("the result is not a number of reasonable size")
    return value
