"""The error tree, as its docstring draws it."""

from __future__ import annotations

import inspect
import re

from rung.core import errors
from rung.core.errors import InputError, RungError


def test_the_drawing_is_the_tree() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w+(?=  |$)|^RungError", errors.__doc__ or "", re.MULTILINE))
    drawn |= set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    real = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RungError)}
    assert drawn == real


def test_at_most_two_levels_below_the_base() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, RungError):
            assert kind.__mro__.index(RungError) <= 2


def test_an_error_ends_in_what_to_type() -> None:
    assert str(RungError("got a, expected b", remedy="type: c")) == "got a, expected b\n  → type: c"
    assert str(RungError("plain")) == "plain"


def test_where_the_input_is_wrong() -> None:
    assert str(InputError("x", file="a.yaml", line=3)) == "a.yaml:3: x"
    assert str(InputError("x", file="a.yaml")) == "a.yaml: x"
    assert str(InputError("x", line=3)) == "x"


def test_exit_codes_and_retries() -> None:
    assert (errors.InputError.exit_code, errors.MissingExtra.exit_code, errors.StoreError.exit_code) == (2, 2, 1)
    retried = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if getattr(kind, "retryable", False)}
    assert retried == {"RateLimited", "ModelTimeout", "ServerError"}
    assert errors.RateLimited("slow", retry_after=3).retry_after == 3
    assert errors.RateLimited("slow").status == 429
