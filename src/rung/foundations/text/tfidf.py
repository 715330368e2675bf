"""TF-IDF over word and character n-grams (Salton and Buckley 1988), stored without pickles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.system.files import atomic_write
from rung.foundations.text.words import visible

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORD: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
CHAR: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (3, 5)}


class Tfidf:
    """Rows of unit length over word 1-2-grams and, within words, character 3-5-grams; sublinear term frequency."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Tfidf:
        """Learn vocabulary and document frequencies of ``texts`` (at least one must hold a word)."""
        return cls.learn(texts)[0]

    @classmethod
    def learn(cls, texts: Sequence[str]) -> tuple[Tfidf, csr_matrix]:
        """``fit`` and the rows of ``texts`` as ``transform`` makes them, reading the texts once."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        parts = [TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options) for options in (WORD, CHAR)]
        seen = list(map(visible, texts))
        rows = [part.fit_transform(seen) for part in parts]
        return cls(parts), _joined(rows)

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Sparse float32 matrix of shape (len(texts), features), rows of unit length (all-zero where nothing is
        known)."""
        seen = list(map(visible, texts))
        return _joined([part.transform(seen) for part in self._parts])

    def row(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """``transform`` of one text, ten times faster: its features and their weights, both of shape (known
        features,)."""
        features: list[NDArray[np.int32]] = []
        weights: list[NDArray[np.float32]] = []
        text = visible(text)
        for first, vocabulary, idf, analyse in self._readers:
            counts: dict[int, int] = {}
            for term in analyse(text):
                if (at := vocabulary.get(term)) is not None:
                    counts[at] = counts.get(at, 0) + 1
            if counts:
                known = np.fromiter(counts, np.int32, len(counts))
                features.append(known + np.int32(first))
                weights.append(_unit((np.log(np.fromiter(counts.values(), np.float32, len(counts))) + 1) * idf[known]))
        if not features:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        return np.concatenate(features), _unit(np.concatenate(weights))

    @cached_property
    def _readers(self) -> list[tuple[int, dict[str, int], NDArray[np.float32], Callable[[str], list[str]]]]:
        """For each part: where its features begin, its vocabulary, weights and analyser."""
        out, first = [], 0
        for part in self._parts:
            if not hasattr(part, "vocabulary_"):  # restored, and not used yet
                part.transform([""])
            out.append((first, part.vocabulary_, part.idf_.astype(np.float32), part.build_analyzer()))
            first += len(part.vocabulary_)
        return out

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that ``restore`` needs, as arrays that load without pickle."""
        out: dict[str, np.ndarray[Any, Any]] = {}
        for index, part in enumerate(self._parts):
            terms = sorted(part.vocabulary_, key=part.vocabulary_.__getitem__)
            out[f"terms{index}"] = np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)
            out[f"idf{index}"] = part.idf_
        return out

    @property
    def features(self) -> int:
        """Columns of the matrices that ``transform`` makes."""
        return sum(len(part.idf_) for part in self._parts)

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> Tfidf:
        """What ``arrays`` gave. Raises KeyError or ValueError where it is something else."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        parts = []
        for index, options in enumerate((WORD, CHAR)):
            terms, idf = _lines(arrays[f"terms{index}"]), arrays[f"idf{index}"].astype(np.float32)
            if idf.shape != (len(terms),) or not np.isfinite(idf).all():
                raise ValueError(f"there are weights of shape {idf.shape} for {len(terms)} terms")
            part = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, vocabulary=terms, **options)
            part.idf_ = idf
            parts.append(part)
        return cls(parts)


class Similar:
    """How similar a text is to each of ``texts`` (at least one must hold a word): the cosine of their TF-IDF rows.

    A query reads only the postings of its own terms: well under a millisecond over 10,000 sentences.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.tfidf, self.rows = Tfidf.learn(texts)
        self._postings = self.rows.T.tocsr()

    def __call__(self, text: str) -> NDArray[np.float32]:
        """Cosines of shape (len(texts),)."""
        from scipy.sparse import csr_matrix

        features, weights = self.tfidf.row(text)
        query = csr_matrix((weights, features, np.array([0, len(features)])), shape=(1, self._postings.shape[0]))
        product = query @ self._postings
        out = np.zeros(self.rows.shape[0], np.float32)
        out[product.indices] = product.data
        return out


def top(similar: NDArray[np.floating[Any]], k: int) -> list[int]:
    """Indices of the k largest, largest first; ties by position, so that selection is deterministic."""
    if k < len(similar):
        cut = np.partition(similar, -k)[-k]
        rows = np.flatnonzero(similar >= cut)
    else:
        rows = np.arange(len(similar))
    return [int(row) for row in rows[np.argsort(-similar[rows], kind="stable")][:k]]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.float32(np.sqrt(vector @ vector))


def _joined(rows: Sequence[Any]) -> csr_matrix:
    from scipy.sparse import hstack
    from sklearn.preprocessing import normalize

    return normalize(hstack(rows).tocsr(), copy=False)


class Onehot:
    """Rows that hold 1 for each known word that is there (one-hot vectors of the words, put together), of unit
    length."""

    def __init__(self, words: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.words = list(words)
        self._counter: Any = CountVectorizer(
            vocabulary=self.words, token_pattern=WORD["token_pattern"], binary=True, dtype=np.float32
        )

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Onehot:
        """Learn the words of ``texts`` (at least one must hold a word)."""
        from sklearn.feature_extraction.text import CountVectorizer

        counter = CountVectorizer(token_pattern=WORD["token_pattern"]).fit(map(visible, texts))
        return cls(sorted(counter.vocabulary_))

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Sparse float32 matrix of shape (len(texts), words)."""
        from sklearn.preprocessing import normalize

        return normalize(self._counter.transform(map(visible, texts)), copy=False)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that ``restore`` needs, as arrays that load without pickle."""
        return {"onehot": np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8)}

    @property
    def features(self) -> int:
        """Columns of the matrices that ``transform`` makes."""
        return len(self.words)

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> Onehot:
        """What ``arrays`` gave. Raises KeyError or ValueError where it is something else."""
        return cls(_lines(arrays["onehot"]))


def _lines(text: NDArray[Any]) -> list[str]:
    """Words that are stored with line feeds between them. Raises ValueError where one is there twice."""
    found = text.tobytes().decode().split("\n")
    if len(set(found)) != len(found):
        raise ValueError("a word is there twice")
    return found


def save_arrays(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write ``arrays`` to ``path`` in one step, byte-identical for equal content."""
    with atomic_write(path) as staging, staging.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
