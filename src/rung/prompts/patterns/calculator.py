"""Arithmetic from text, by a parser of its own: nothing is ever evaluated as Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from decimal import Decimal, Inexact, localcontext
from fractions import Fraction
from typing import Any

from rung.core.errors import InputError

_LIMIT = 200
"""Characters of a sum."""
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _root(value: Fraction) -> Fraction | float:
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    exact = top * top == value.numerator and bottom * bottom == value.denominator
    return Fraction(top, bottom) if exact else math.sqrt(value)


def _rounded(value: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    if digits.denominator != 1 or abs(digits) > 20:
        raise ValueError("it can be rounded to -20 to 20 digits")
    return Fraction(round(value, int(digits)))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": _rounded,
    "sqrt": _root,
}


def calculate(text: str) -> str:
    """The value of ``text`` (numbers, + - * / // % **, brackets, abs ceil floor max min round sqrt) as text.

    It is worked out in fractions: whole numbers and finite decimals are exact, others have ten digits. ``^`` is read as a power, ``x`` and
    ``×`` between numbers as times, ``÷`` as divided by; thousands' commas, currency signs and a trailing ``=`` are dropped; ``30%``
    is 0.3. Raises InputError for anything else, or a result above 1e100.
    """
    plain = _plain(text)
    if not plain or len(plain) > _LIMIT:
        raise InputError(
            f"got {text[:60]!r}, expected arithmetic of 1 to {_LIMIT} characters", remedy="write 12 * (3 + 4)"
        )
    try:
        value = _value(ast.parse(plain, mode="eval").body)
    except ZeroDivisionError:
        raise InputError(
            f"cannot calculate {text[:60]!r}: it divides by zero", remedy="divide by another number"
        ) from None
    except (SyntaxError, ValueError, ArithmeticError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(f"cannot calculate {text[:60]!r}: {error}", remedy="write numbers and + - * / ( )") from None
    with localcontext(prec=40) as context:
        exact = Decimal(value.numerator) / value.denominator
        if value.denominator == 1 or (not context.flags[Inexact] and len(exact.as_tuple().digits) <= 30):
            return str(value.numerator) if value.denominator == 1 else f"{exact.normalize():f}"
    return f"{float(value):.10g}"


def _plain(text: str) -> str:
    import re

    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.strip().rstrip("=").strip())
    text = re.sub(r"[$€£]", "", text).replace("×", "*").replace("÷", "/").replace("−", "-").replace("^", "**")
    text = re.sub(r"(?<=[\d)])\s*[xX]\s*(?=[\d(])", "*", text)
    return re.sub(r"(\d+(?:\.\d+)?)%(?!\s*[\d(])", r"(\1/100)", text)


def _value(node: ast.AST) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(Fraction(str(number)))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and abs(b) > 400:
                raise ValueError("the exponent is above 400")
            return _bounded(_BINARY[type(op)](a, b))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS and arguments:
            return _bounded(_FUNCTIONS[name](*(_value(item) for item in arguments)))
    raise ValueError("only numbers and arithmetic are read")


def _bounded(value: Any) -> Fraction:
    """Refuse what would take long to work on: powers of powers grow without end."""
    if isinstance(value, complex):
        raise ValueError("the result is not a number of reasonable size")
    exact = Fraction(value)
    if max(abs(exact.numerator), exact.denominator) > 10**400 or abs(exact) > 10**100:
        raise ValueError("the result is not a number of reasonable size")
    return exact
