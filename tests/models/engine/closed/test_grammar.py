"""Masks over a vocabulary of bytes: what may follow, what breaks down, and what takes much work."""

from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import InputError, ModelError
from rung.core.types import ResponseFormat
from rung.models.engine.closed.grammar import Grammars

END = 256


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    pytest.importorskip("llguidance", reason="grammars are compiled by llguidance (the extra embedded)")
    return Grammars([bytes([i]) for i in range(256)] + [b"<end>"], [END], [END], lambda text: list(text.encode()))


def follow(grammars: Grammars, pattern: str, text: str) -> set[int]:
    """What may come after ``text``."""
    mask = grammars.matcher(ResponseFormat("grammar", pattern=f"start: A\nA: {pattern}"))
    assert mask is not None
    for byte in text.encode():
        assert mask.allowed()[byte], f"{chr(byte)!r} in {text!r}"
        mask.take(byte)
    return set(np.flatnonzero(mask.allowed()).tolist())


def test_what_may_follow(grammars: Grammars) -> None:
    assert follow(grammars, "/a[bc]/", "a") == {ord("b"), ord("c")}
    assert follow(grammars, "/a[bc]/", "ab") == {END}


def test_a_form_that_nothing_can_follow_says_so(grammars: Grammars) -> None:
    with pytest.raises((ModelError, InputError)):
        follow(grammars, "/a+/ & /b+/", "")


def test_words_forbidden_in_a_bounded_text_are_worked_out(grammars: Grammars) -> None:
    pattern = r'/"[^"]{1,600}"/ & ~/(?s:.)*(?i:taylor|swift|together)(?s:.)*/'
    after = follow(grammars, pattern, '"A story of Swif')
    assert ord("t") not in after
    assert ord("s") in after
    assert END not in after
