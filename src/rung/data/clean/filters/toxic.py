"""Harmful text in rows: the content rules of rung.safety.filter, words of the user's own, or a classifier learnt from
examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rung.data.clean.options import CleanOptions
from rung.data.clean.report import Drop, Report
from rung.data.rows.records import Record
from rung.safety.filter import ABUSE, RULES, AnyFilter, Filter, RuleFilter, TrainedFilter, read_texts

PIECE, SHARE = 4000, 0.1
"""Characters that are judged at once, and the share of such pieces above which a row is harmful."""


def rules(words: Sequence[str] = ()) -> Filter:
    """Asking how to do harm, threats and insults, and ``words`` wherever they stand."""
    return RuleFilter({"harm": RULES["harm"], "abuse": ABUSE}, words)


def open_filter(options: CleanOptions) -> Filter:
    """The filter that the options name. Raises InputError for files that cannot be read or hold too few texts."""
    words = read_texts(Path(options.toxic_words)) if options.toxic_words else []
    if not options.harmful:
        return rules(words)
    learnt = TrainedFilter.fit(read_texts(Path(options.harmful)), read_texts(Path(options.harmless)))
    return AnyFilter([RuleFilter({}, words), learnt]) if words else learnt


class Toxic:
    """Drop (or list) rows of which more than a tenth of the pieces are harmful; a whole book is not for one sentence
    of it."""

    def __init__(self, judge: Filter, *, drop: bool) -> None:
        self._judge, self._drop = judge, drop

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        return [self._one(record, report) for record in records]

    def _one(self, record: Record, report: Report) -> Record | Drop:
        text = record.whole
        pieces = [text[at : at + PIECE] for at in range(0, max(len(text), 1), PIECE)]
        found = [verdict.why for piece in pieces if (verdict := self._judge(piece)).blocked]
        if found and self._drop and len(found) > SHARE * len(pieces):
            return Drop("toxic", found[0])
        if found:
            more = f" and {len(found) - 1} more places" if len(found) > 1 else ""
            report.mention(record, "toxic", found[0] + more)
        return record
