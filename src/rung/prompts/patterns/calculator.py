"""Arithmetic from text, by a parser of its own: nothing is ever evaluated as Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from rung.core.errors import InputError

_LIMIT = 200
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}


def calculate(text: str) -> str:
    """The value of ``text`` (numbers, + - * / // % **, brackets, abs ceil floor max min round sqrt) as text.

    ``^`` is read as a power, ``x`` and ``×`` between numbers as times, ``÷`` as divided by; thousands' commas, currency
    signs and a trailing ``=`` are dropped; ``30%`` is 0.3. Raises InputError for anything else, or a result without end.
    """
    plain = _plain(text)
    if not plain or len(plain) > _LIMIT:
        raise InputError(
            f"got {text[:60]!r}, expected arithmetic of 1 to {_LIMIT} characters", remedy="write 12 * (3 + 4)"
        )
    try:
        value = _value(ast.parse(plain, mode="eval").body)
        if not math.isfinite(value):
            raise ValueError("the result is not a number")
    except (SyntaxError, ValueError, ArithmeticError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(f"cannot calculate {text[:60]!r}: {error}", remedy="write numbers and + - * / ( )") from None
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.10g}"


def _plain(text: str) -> str:
    import re

    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.strip().rstrip("=").strip())
    text = re.sub(r"[$€£]", "", text).replace("×", "*").replace("÷", "/").replace("−", "-").replace("^", "**")
    text = re.sub(r"(?<=[\d)])\s*[xX]\s*(?=[\d(])", "*", text)
    return re.sub(r"(\d+(?:\.\d+)?)%(?!\s*[\d(])", r"(\1/100)", text)


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and abs(b) > 64:
                raise ValueError("the exponent is above 64")
            result: Any = _BINARY[type(op)](a, b)
            return _bounded(result)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS and arguments:
            return _bounded(_FUNCTIONS[name](*(_value(item) for item in arguments)))
    raise ValueError("only numbers and arithmetic are read")


def _bounded(value: Any) -> float:
    """Refuse what would take long to work on: powers of powers grow without end."""
    if isinstance(value, complex) or abs(value) > 1e100:
        raise ValueError("the result is not a number of reasonable size")
    return value  # type: ignore[no-any-return]
