"""Where a passage has the query's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rung.core.types import Span
from rung.retrieval.keyword import LONGEST, Analysis

_ANALYSIS = Analysis()


def highlight(query: str, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    """For each text the spans of the words that the keyword index would match with the query, in order.

    In plain ASCII the candidates are found by one regular expression (words that begin as a term does) and then compared as
    terms; other texts go through the analysis character by character.
    """
    wanted = frozenset(_ANALYSIS.terms(query))
    if not wanted:
        return [() for _ in texts]
    pattern = _pattern(wanted)
    out: list[tuple[Span, ...]] = []
    for text in texts:
        if text.isascii():
            words = pattern.finditer(text)
            found = (word for word in words if _ANALYSIS.term(word[0].lower()[: LONGEST + 1]) in wanted)
            out.append(tuple(Span(word.start(), word.end()) for word in found))
        else:
            out.append(tuple(span for term, span in _ANALYSIS.places(text) if term in wanted))
    return out


@lru_cache(maxsize=64)
def _pattern(terms: frozenset[str]) -> re.Pattern[str]:
    # Porter's stemmer changes at most the last two letters of what is left (happy: happi, hoping: hope).
    heads = sorted({re.escape(term[: max(1, len(term) - 2)]) for term in terms if term.isascii()})
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(heads)})[A-Za-z0-9]*" if heads else r"(?!)", re.IGNORECASE)
