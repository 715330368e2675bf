"""Tokens of rows, by a model's own counter."""

from __future__ import annotations

from rung.core.settings import Settings
from rung.core.types import Message
from rung.data.rows.length import by_model
from rung.data.rows.records import Record


def test_a_longer_row_is_longer(settings: Settings) -> None:
    count = by_model("fake:echo", settings)
    short = Record("a", (Message("user", "one two"), Message("assistant", "three")))
    assert 0 < count(short) < count(short.with_texts(("one two three four five six seven eight", "three")))
    assert count(Record("b", text="one two three")) > 0
