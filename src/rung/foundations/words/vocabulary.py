"""The words of a text as numbers, the most frequent first, and which of them are passed over so that frequent ones do
not drown the others (Mikolov 2013: a word of share f is kept with probability sqrt(t / f) + t / f)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.foundations.text.words import words as words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.foundations.words import Floats, Ids


@dataclass(frozen=True)
class TextVocabulary:
    """``words`` by falling ``counts``, shape (words,); ``ids`` is the text without its other words, shape (tokens,)."""

    words: Sequence[str]
    counts: NDArray[np.int64]
    ids: Ids

    @classmethod
    def read(cls, text: str, *, least: int = 5, most: int = 30_000) -> TextVocabulary:
        """The words of a text that occur ``least`` times or more, at most ``most`` of them. Raises InputError for fewer
        than 3."""
        tokens = words_of(text)
        ranked = sorted(((-n, word) for word, n in Counter(tokens).items() if n >= least))[:most]
        if len(ranked) < 3:
            raise InputError(
                f"{len(ranked)} words occur {least} times or more, expected at least 3",
                remedy="give a longer text, or a smaller --least",
                code="few-words",
            )
        words = [word for _, word in ranked]
        numbers = {word: at for at, word in enumerate(words)}
        ids = np.array([at for token in tokens if (at := numbers.get(token)) is not None], np.int64)
        return cls(words, np.array([-n for n, _ in ranked], np.int64), ids)

    def thinned(self, threshold: float, rng: np.random.Generator) -> Ids:
        """The text with words of a share above ``threshold`` passed over at random."""
        share = self.counts / self.counts.sum()
        keep = np.minimum(1.0, np.sqrt(threshold / share) + threshold / share)
        chosen: Ids = self.ids[rng.random(len(self.ids)) < keep[self.ids]]
        return chosen

    def noise(self) -> NDArray[np.float64]:
        """Cumulative probabilities that negative examples are drawn by: counts to the power of 0.75."""
        weight = self.counts**0.75
        return np.cumsum(weight / weight.sum())


STEP = 0.25
"""A number moves by so much at once at most: where few words make up a text, hundreds of pairs push one of them
together."""


def add_rows(table: Floats, ids: Ids, rows: Floats) -> None:
    """``table[ids[i]] += rows[i]``, also where an id occurs several times (one sparse product), by at most STEP."""
    from scipy.sparse import csr_matrix

    used, at = np.unique(ids, return_inverse=True)
    chosen = csr_matrix((np.ones(len(ids), np.float32), (at, np.arange(len(ids)))), shape=(len(used), len(ids)))
    table[used] += np.clip(chosen @ rows, -STEP, STEP)
