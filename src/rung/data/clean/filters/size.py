"""Rows without words, and rows of too few or too many tokens."""

from __future__ import annotations

from rung.data.clean.report import Drop, Report
from rung.data.rows.length import TokenCounter
from rung.data.rows.records import Record


def drop_empty(records: list[Record], report: Report) -> list[Record | Drop]:
    """Drop rows without an input, and those in which an answer that would be learnt is empty."""
    return [Drop(why) if (why := _empty(record)) else record for record in records]


def _empty(record: Record) -> str:
    if not record.messages:
        return "" if record.text.strip() else "empty text"
    learnt = [message for message in record.messages if message.role == "assistant" and message.learn]
    if not record.answer.strip() or not all(message.content.strip() for message in learnt):
        return "empty answer"
    return "" if record.question.strip() else "empty input"


class Length:
    """Drop rows outside the bounds; ``high`` 0 is no bound."""

    def __init__(self, counter: TokenCounter, low: int, high: int) -> None:
        self._counter, self._low, self._high = counter, low, high

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        return [self._one(record) for record in records]

    def _one(self, record: Record) -> Record | Drop:
        tokens = self._counter.count(record)
        if tokens < self._low:
            return Drop("too short", f"{tokens:,} tokens")
        return Drop("too long", f"{tokens:,} tokens") if self._high and tokens > self._high else record
