"""Personal data and secrets in rows: masked wherever they stand, or the row is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rung.data.clean.report import Drop, Report
from rung.data.rows.records import Record
from rung.safety import private


class Private:
    """Mask what is found of ``kinds``, also in the columns that are not learnt; or ``drop`` the row."""

    def __init__(self, kinds: frozenset[str], *, drop: bool) -> None:
        self._kinds, self._drop = kinds, drop

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        return [self._one(record, report) for record in records]

    def _one(self, record: Record, report: Report) -> Record | Drop:
        texts = [message.content for message in record.messages] if record.messages else [record.text]
        if record.rejected is not None:
            texts.append(record.rejected)
        found = [private.find(text, self._kinds) for text in texts]
        kinds = Counter(item.kind for items in found for item in items)
        if kinds and self._drop:
            return Drop("private", ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
        report.masked.update(kinds)
        extra = _covered(record.extra, self._kinds)
        if not kinds and extra == record.extra:
            return record
        said = [private.mask(text, items) for text, items in zip(texts, found, strict=True)]
        rejected = said.pop() if record.rejected is not None else None
        return replace(record.with_texts(tuple(said)), rejected=rejected, extra=extra)


def _covered(value: Any, kinds: frozenset[str]) -> Any:
    if isinstance(value, str):
        return private.mask(value, private.find(value, kinds))
    if isinstance(value, Mapping):
        return {key: _covered(item, kinds) for key, item in value.items()}
    return [_covered(item, kinds) for item in value] if isinstance(value, list | tuple) else value
