"""Whether a text is in a language that is wanted, and whether that can be told at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rung.data.clean.report import Drop, Report
from rung.data.rows.records import Record
from rung.foundations.text.language import rank

LETTERS = 20
"""Letters below which nothing is said: a word or two fit several languages."""
MARGIN = 3.0
"""How many nats of log-likelihood the wanted language may be behind the best: closer ones are not told apart."""

_CODE = re.compile(r"```.*?(?:```|\Z)|https?://\S+|\[[A-Z-]+\]", re.DOTALL)


def tell(text: str, wanted: frozenset[str] = frozenset()) -> str:
    """The code (ISO 639-1) of the text's language: a wanted one where it is nearly as likely as the best; empty where
    the text is too short to tell. Code in fences and addresses are not looked at."""
    said = _CODE.sub(" ", text)
    if sum(map(str.isalpha, said[:4000])) < LETTERS:
        return ""
    ranked = rank(said[:4000])
    best, score = ranked[0]
    near = [code for code, other in ranked if code in wanted and score - other <= MARGIN]
    return near[0] if near else best


class LanguageFilter:
    """Drop rows in other languages than the wanted ones; those that are too short to tell stay."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = frozenset(wanted)

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        found = [tell(record.whole, self._wanted) for record in records]
        return [
            record if not code or code in self._wanted else Drop("language", code)
            for record, code in zip(records, found, strict=True)
        ]
