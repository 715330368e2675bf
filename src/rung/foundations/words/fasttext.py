"""fastText: a word is the sum of its parts (Bojanowski 2017).

``<where>`` has the pieces ``<wh``, ``whe``, ``her``, ``ere``, ``re>`` and longer ones. A word's vector is the mean of
its own and its pieces' vectors; all of them learn from skip-gram's pairs (word2vec.py). So rare words borrow from their
relatives, and a word that was never seen, or is misspelled, has a vector too: the mean of the pieces that are known.
Pieces are kept in a dictionary of those that occur in two words or more; the original hashes all of them into two
million rows.

Vectors that were trained so have much in common: a mean, and few directions that most of their length lies in. These
drown what tells one word's pieces from another's. So the mean of all words is taken away in the end, and every
direction divided by the fourth root of its variance: half of the way to whitening (Mu & Viswanath 2018; Su 2021). As a
word is a mean of its parts, that is done to the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.system.arrays import read_arrays
from rung.foundations.text.tfidf import save_arrays
from rung.foundations.words.vocabulary import STEP, TextVocabulary
from rung.foundations.words.word2vec import SkipgramPlan, fresh, train

if TYPE_CHECKING:
    from rung.foundations.words import Floats, Ids


def pieces(word: str, shortest: int = 3, longest: int = 5) -> list[str]:
    """The runs of letters of ``<word>`` of these lengths, the whole left out."""
    whole = f"<{word}>"
    return [
        whole[at : at + size]
        for size in range(shortest, longest + 1)
        for at in range(len(whole) - size + 1)
        if size < len(whole)
    ]


class _Parts:
    """The rows of words and pieces; ``parts`` is a sparse matrix of shape (words, rows), whose rows sum to 1."""

    def __init__(self, parts: Any, rows: Floats) -> None:
        self._parts, self.rows = parts, rows

    def look(self, ids: Ids) -> Floats:
        used, at = np.unique(ids, return_inverse=True)
        return np.asarray(self._parts[used] @ self.rows, np.float32)[at.reshape(ids.shape)]

    def learn(self, ids: Ids, change: Floats) -> None:
        from scipy.sparse import csr_matrix

        used, at = np.unique(ids, return_inverse=True)
        chosen = csr_matrix((np.ones(len(ids), np.float32), (at, np.arange(len(ids)))), shape=(len(used), len(ids)))
        back = self._parts[used]
        back.data = np.ones_like(back.data)  # as in the original, every part moves by the whole change
        columns, place = np.unique(back.indices, return_inverse=True)
        turned = csr_matrix((back.data, place, back.indptr), shape=(len(used), len(columns))).T.tocsr()
        self.rows[columns] += np.clip(turned @ (chosen @ change), -STEP, STEP)


def _spread(rows: Floats, parts: Any) -> Floats:
    """Rows whose means over ``parts`` have the mean 0, and the square root of the standard deviations that they had."""
    words = np.asarray(parts @ rows, np.float64)
    mean = words.mean(0)
    variance, axes = np.linalg.eigh(np.cov(words - mean, rowvar=False))
    least = max(float(variance[-1]) * 1e-6, 1e-12)
    return np.asarray((rows - mean) @ (axes * np.maximum(variance, least) ** -0.25), np.float32)


@dataclass(frozen=True)
class FastText:
    """``words`` and ``parts`` (pieces) in the order of ``rows``, shape (words + pieces, dimensions)."""

    words: Sequence[str]
    parts: Sequence[str]
    rows: Floats

    @classmethod
    def fit(
        cls, vocabulary: TextVocabulary, plan: SkipgramPlan, tell: Callable[[float], None] = lambda _: None
    ) -> FastText:
        """Train on a text."""
        from scipy.sparse import csr_matrix

        known = Counter(piece for word in vocabulary.words for piece in set(pieces(word)))
        parts = sorted(piece for piece, n in known.items() if n > 1)
        number = {piece: len(vocabulary.words) + at for at, piece in enumerate(parts)}
        lists = [
            [at, *(number[piece] for piece in dict.fromkeys(pieces(word)) if piece in number)]
            for at, word in enumerate(vocabulary.words)
        ]
        ends = np.cumsum([0, *map(len, lists)])
        data = np.repeat([np.float32(1 / len(one)) for one in lists], np.diff(ends)).astype(np.float32)
        shape = (len(lists), len(lists) + len(parts))
        matrix = csr_matrix((data, np.concatenate(lists), ends), shape=shape)
        inputs = _Parts(matrix, fresh(shape[1], plan.dimensions, plan.seed))
        train(vocabulary, plan, inputs=inputs, tell=tell)
        return cls(vocabulary.words, parts, _spread(inputs.rows, matrix))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_words", {word: at for at, word in enumerate(self.words)})
        object.__setattr__(self, "_parts", {piece: len(self.words) + at for at, piece in enumerate(self.parts)})

    def vectors(self, words: Sequence[str]) -> Floats:
        """Of any words, shape (len(words), dimensions); zeros for one without a known piece."""
        out = np.zeros((len(words), self.rows.shape[1]), np.float32)
        own: dict[str, int] = self._words  # type: ignore[attr-defined]
        parts: dict[str, int] = self._parts  # type: ignore[attr-defined]
        for at, word in enumerate(words):
            rows = [parts[piece] for piece in dict.fromkeys(pieces(word)) if piece in parts]
            if word in own:
                rows.append(own[word])
            if rows:
                out[at] = self.rows[rows].mean(0)
        return out

    def save(self, path: Path) -> None:
        """Write it to an ``.npz`` file."""
        texts = {name: np.frombuffer("\n".join(part).encode(), np.uint8) for name, part in self._texts()}
        save_arrays(path, {**texts, "rows": self.rows})

    def _texts(self) -> list[tuple[str, Sequence[str]]]:
        return [("words", self.words), ("parts", self.parts)]

    @classmethod
    def load(cls, path: Path) -> FastText:
        """Raises InputError for a file that is not one of these."""
        try:
            arrays = read_arrays(path)
            words, parts = (arrays[name].tobytes().decode().split("\n") for name in ("words", "parts"))
            rows = np.ascontiguousarray(arrays["rows"], np.float32)
            if rows.ndim != 2 or len(rows) != len(words) + len(parts):
                raise ValueError(f"{len(words)} words and {len(parts)} pieces have vectors of shape {rows.shape}")
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"no fastText vectors: {error}", file=path, remedy="train some: rung lab words fasttext --to FOLDER"
            ) from None
        return cls(words, parts, rows)
