"""Baselines that count words: ``onehot`` (which words are there) and ``tfidf`` (how telling each is).

Both are fitted on a corpus: ``fit_embedder("tfidf?dimensions=4096", texts, Path("corpus.npz"))`` writes the words (and
their weights), without pickles, and from then on ``tfidf:corpus.npz`` opens. Their vectors are dense, so the words are
the ``dimensions`` most frequent ones. (The rungs ``linear`` and ``nearest`` count in sparse matrices, without such a
limit.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.arrays import read_arrays
from rung.models.embed import Spec, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD = r"(?u)\b\w+\b"


class CountsEmbedder:
    """Rows over the fitted words, of unit length: 1 for each word that is there, times its inverse document frequency
    for ``tfidf`` (with 1 + log of the count in place of 1)."""

    def __init__(self, name: str, kind: str, words: Sequence[str], idf: NDArray[np.float32], salt: str) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.name = name
        self.dimensions = len(words)
        self.fingerprint = digest([kind, salt])
        self._kind = kind
        self._idf = idf
        self._counter: Any = CountVectorizer(vocabulary=list(words), token_pattern=WORD, binary=kind == "onehot")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows of unit length. A text without fitted words gets the
        vector of equal components."""
        import numpy as np

        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        counts = self._counter.transform(texts).astype(np.float32)
        if self._kind == "tfidf":
            counts.data = (1 + np.log(counts.data)) * self._idf[counts.indices]
        return unit(np.asarray(counts.toarray(), np.float32))


def fit_counts(kind: str, texts: Sequence[str], dimensions: int, path: Path) -> None:
    """Write the ``dimensions`` most frequent words of ``texts`` and their smoothed inverse document frequencies,
    log((1 + n) / (1 + df)) + 1, to ``path``. Raises InputError without a word."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    from rung.foundations.text.tfidf import save_arrays

    counter = CountVectorizer(token_pattern=WORD, max_features=dimensions, dtype=np.int32)
    try:
        found = counter.fit_transform(texts)
    except ValueError as error:
        raise InputError(f"cannot fit {kind}: {error}", remedy="give texts with words") from None
    words = sorted(counter.vocabulary_, key=counter.vocabulary_.__getitem__)
    there = np.asarray((found > 0).sum(axis=0)).ravel()
    idf = np.log((1 + len(texts)) / (1 + there)) + 1
    joined = np.frombuffer("\n".join(words).encode("utf-8", "replace"), np.uint8)
    save_arrays(path, {"words": joined, "idf": idf.astype(np.float32)})


def _open(spec: Spec) -> CountsEmbedder:
    import numpy as np

    spec.read({"dimensions": 0})
    if not spec.argument:
        raise InputError(
            f"{spec.name!r} is not fitted yet: it counts the words of a corpus",
            remedy=f"type: rung vectors fit {spec.kind} FILE --to corpus.npz   and open {spec.kind}:corpus.npz",
        )
    path = Path(spec.argument).expanduser()
    try:
        arrays = read_arrays(path)
        words, idf = arrays["words"].tobytes().decode().split("\n"), arrays["idf"].astype(np.float32)
        if idf.shape != (len(words),) or len(set(words)) < len(words):
            raise ValueError(f"{len(words)} words have weights of shape {idf.shape}")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"cannot read fitted words: {error}", file=path, remedy="fit it again") from None
    return CountsEmbedder(spec.name, spec.kind, words, idf, file_hash(path))


def open_tfidf(spec: Spec, settings: Settings) -> CountsEmbedder:
    """``tfidf:FILE.npz``. Raises InputError when it was not fitted."""
    return _open(spec)


def open_onehot(spec: Spec, settings: Settings) -> CountsEmbedder:
    """``onehot:FILE.npz``. Raises InputError when it was not fitted."""
    return _open(spec)
