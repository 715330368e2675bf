"""Search over passages by TF-IDF, for patterns that look things up."""

from __future__ import annotations

from collections.abc import Mapping

from rung.core.errors import InputError
from rung.foundations.text.tfidf import Similar, top


class PassageSearch:
    """Passages by name; their names are searched too."""

    def __init__(self, passages: Mapping[str, str]) -> None:
        if not passages:
            raise InputError("there are no passages to search", remedy="give the task file passages:")
        self._names = list(passages)
        texts = [f"{name}\n{text}" for name, text in passages.items()]
        self._similar = Similar(texts)

    def __call__(self, words: str, k: int = 2) -> list[str]:
        """Names of the ``k`` passages nearest to ``words``, nearest first; fewer where nothing matches."""
        similar = self._similar(words)
        return [self._names[row] for row in top(similar, k) if similar[row] > 0]
