"""Where a passage has the query's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rung.core.types import Span
from rung.retrieval.keyword.analysis import LONGEST, Analysis

_ANALYSIS = Analysis()
_RUNS = re.compile("[A-Za-z0-9\x80-\U0010ffff]+")


def highlight(query: str, texts: Sequence[str]) -> list[tuple[Span, ...]]:
    """For each text the spans of the words that the keyword index would match with the query, in order.

    What is ASCII and no letter or digit parts words in the analysis, so the runs between can be looked at one by one,
    and each once: those in ASCII are one word, others go through the analysis character by character.
    """
    wanted = frozenset(_ANALYSIS.terms(query))
    if not wanted:
        return [() for _ in texts]
    out: list[tuple[Span, ...]] = []
    for text in texts:
        spans: list[Span] = []
        for found in _RUNS.finditer(text):
            for term, first, last in _terms(found[0]):
                if term in wanted:
                    spans.append(Span(found.start() + first, found.start() + last))
        out.append(tuple(spans))
    return out


@lru_cache(maxsize=1 << 16)
def _terms(run: str) -> tuple[tuple[str, int, int], ...]:
    """The terms of a run, each with where it begins and ends."""
    if run.isascii():
        term = _ANALYSIS.term(run.lower()[: LONGEST + 1])
        return ((term, 0, len(run)),) if term else ()
    return tuple((term, span.start, span.end) for term, span in _ANALYSIS.places(run))
