from __future__ import annotations

import contextlib
import re

import pytest

from rung.core.errors import InputError
from rung.core.text.pattern import compile_pattern


@pytest.mark.parametrize(
    ("source", "text"), [("(?:b|b)*c", "b" * 70), (r"(\w+\s?)*\.", "word " * 30), ("(.*)*#", "y" * 60)]
)
def test_a_search_ends(source: str, text: str) -> None:
    with contextlib.suppress(InputError):  # slow-pattern, or an engine that sees through it
        assert compile_pattern(source).fullmatch(text) is None


@pytest.mark.parametrize(
    "source", ["[", "(?P<x>", "(b{500}){500}", "b{40000}", "(" * 3000, "(" * 600 + ")" * 600, r"\p{L}", "b" * 30_000]
)
def test_what_is_none_or_too_large_is_refused(source: str) -> None:
    with pytest.raises(InputError) as raised:
        compile_pattern(source)
    assert raised.value.code == "pattern"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("b{e}", "b{e}"),
        ("b{1,2}c", "xbbc"),
        (r"(?i)ÄB", "äb"),
        (r"^a$", "a\nb"),
        (r"(?<=x)y(?!z)", "xy"),
    ],
)
@pytest.mark.parametrize("flags", [0, re.IGNORECASE | re.MULTILINE])
def test_it_finds_what_re_finds(source: str, text: str, flags: int) -> None:
    ours, theirs = compile_pattern(source, flags).search(text), re.search(source, text, flags)
    assert (ours and ours.span()) == (theirs and theirs.span())
