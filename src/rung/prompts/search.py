"""Search over passages by TF-IDF, for patterns that look things up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rung.core.errors import InputError
from rung.foundations.tfidf import Tfidf


class Search:
    """Passages by name; their names are searched too."""

    def __init__(self, passages: Mapping[str, str]) -> None:
        if not passages:
            raise InputError("there are no passages to search", remedy="give the task file passages:")
        self._names = list(passages)
        texts = [f"{name}\n{text}" for name, text in passages.items()]
        self._tfidf = Tfidf.fit(texts)
        self._rows = self._tfidf.transform(texts)

    def __call__(self, words: str, k: int = 2) -> list[str]:
        """Names of the ``k`` passages nearest to ``words``, nearest first; fewer where nothing matches."""
        similar = np.asarray((self._rows @ self._tfidf.transform([words]).T).toarray())[:, 0]
        return [self._names[i] for i in np.argsort(-similar, kind="stable")[:k] if similar[i] > 0]
