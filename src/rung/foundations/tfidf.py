"""TF-IDF over word and character n-grams (Salton and Buckley 1988), stored without pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
        from sklearn.feature_extraction.text import TfidfVectorizer

        parts = [TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options) for options in (WORD, CHAR)]
        for part in parts:
            part.fit(texts)
        return cls(parts)

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Sparse float32 matrix of shape (len(texts), features), rows of unit length (all-zero where nothing is known)."""
        from scipy.sparse import hstack
        from sklearn.preprocessing import normalize

        return normalize(hstack([part.transform(texts) for part in self._parts]).tocsr(), copy=False)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that ``restore`` needs, as arrays that load without pickle."""
        out: dict[str, np.ndarray[Any, Any]] = {}
        for index, part in enumerate(self._parts):
            terms = sorted(part.vocabulary_, key=part.vocabulary_.__getitem__)
            out[f"terms{index}"] = np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)
            out[f"idf{index}"] = part.idf_
        return out

    @classmethod
    def restore(cls, arrays: Any) -> Tfidf:
        from sklearn.feature_extraction.text import TfidfVectorizer

        parts = []
        for index, options in enumerate((WORD, CHAR)):
            terms = arrays[f"terms{index}"].tobytes().decode().split("\n")
            part = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, vocabulary=terms, **options)
            part.idf_ = arrays[f"idf{index}"].astype(np.float32)
            parts.append(part)
        return cls(parts)


def save_arrays(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write ``arrays`` to ``path`` in one step, byte-identical for equal content."""
    staging = path.with_name(f".{path.name}.part")
    with staging.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    staging.replace(path)
