"""Which examples go into a prompt: random, nearest (kNN), near and diverse (MMR), or covering the input (coverage)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Embedder
from rung.core.types import Example, Input, text_of
from rung.foundations.tfidf import Tfidf
from rung.tasks.near import SHINGLE, normal

Kind = Literal["random", "knn", "mmr", "coverage"]


class Selector:
    """Chooses ``k`` examples of ``pool`` for an input.

    ``random`` is one fixed draw (every input sees the same examples, so their prefix is shared); it takes labels in turn.
    ``knn`` takes the most similar, the nearest one last (closest to the question; Liu et al. 2022, arXiv:2101.06804).
    ``mmr`` trades similarity against redundancy with weight ``diversity`` (Carbonell and Goldstein 1998).
    ``coverage`` takes, greedily, the examples that together cover most of the input's n-grams, each weighted by its TF-IDF
    (set coverage; Gupta et al. 2023, arXiv:2305.14907); among equals the one whose label is not yet shown.
    ``exclude`` > 0 leaves out examples that are near-duplicates of the input: those whose sets of 5-character shingles have
    at least that Jaccard similarity with its set. A test item's twin in the pool would give its answer away.
    Similarity is the cosine over ``embedder``'s vectors, or over TF-IDF fitted on the pool where there is none.
    """

    def __init__(
        self,
        kind: Kind,
        k: int,
        pool: Sequence[Example],
        *,
        embedder: Embedder | None = None,
        seed: int = 0,
        diversity: float = 0.3,
        exclude: float = 0.0,
    ) -> None:
        if not 0 <= exclude <= 1:
            raise InputError(f"got exclude {exclude}, expected 0 to 1", remedy="write exclude: 0.8")
        self.kind, self.k, self.pool, self.embedder = kind, min(k, len(pool)), tuple(pool), embedder
        if kind == "coverage":
            self.embedder = embedder = None  # dense vectors have no n-grams to cover
        self.seed, self.diversity, self.exclude = seed, diversity, exclude
        self._sets: dict[int, frozenset[str]] = {}
        self._fixed = self._draw() if kind == "random" else ()
        if kind != "random" and self.k:
            texts = [text_of(example.input) for example in pool]
            self._tfidf = Tfidf.fit(texts) if embedder is None else None
            self._rows: Any = self._vectors(texts)

    @classmethod
    def fixed(cls, examples: Sequence[Example], *, seed: int = 0, exclude: float = 0.0) -> Selector:
        """Always these examples, in this order."""
        selector = cls("random", 0, (), seed=seed, exclude=exclude)
        selector.pool = selector._fixed = tuple(examples)
        selector.k = len(selector.pool)
        return selector

    @property
    def shown(self) -> tuple[Example, ...]:
        """What must be kept to select again: the drawn examples, or the pool that is searched."""
        return self._fixed if self.kind == "random" else self.pool

    def with_k(self, k: int) -> Selector:
        """The same selector choosing ``k``, sharing the pool's vectors."""
        other = object.__new__(Selector)
        other.__dict__.update(self.__dict__)
        other.k = min(k, len(self.pool))
        other._fixed = other._draw() if self.kind == "random" else ()
        return other

    def __call__(self, input: Input | str) -> tuple[Example, ...]:
        text = text_of(input)
        if self.kind == "random" or not self.k:
            if not self.exclude:
                return self._fixed
            own = _shingles(text)
            return tuple(e for e in self._fixed if not _alike(own, _shingles(text_of(e.input)), self.exclude))
        query = self._vectors([text])
        product = self._rows @ query.T
        similar = np.asarray(product.toarray() if hasattr(product, "toarray") else product)[:, 0]
        if self.exclude:
            similar = self._without_twins(similar.copy(), text)
        k = min(self.k, int(np.isfinite(similar).sum()))
        if self.kind == "coverage":
            chosen = self._cover(similar, query, k)
        else:
            chosen = self._spread(similar, k) if self.kind == "mmr" else _top(similar, k)
        return tuple(self.pool[row] for row in reversed(chosen))

    def _without_twins(self, similar: np.ndarray[Any, Any], text: str) -> np.ndarray[Any, Any]:
        """Minus infinity where an example is a near-duplicate of ``text``. Only the nearest can be: the search goes down
        the ranking until as many as are wanted (and as many as MMR and coverage look at) are none."""
        own = _shingles(text)
        wanted = max(8 * self.k, 32)
        kept = 0
        for row in self._ranking(similar, 4 * wanted):
            if kept == wanted:
                break
            if row not in self._sets:
                self._sets[row] = _shingles(text_of(self.pool[row].input))
            if _alike(own, self._sets[row], self.exclude):
                similar[row] = -np.inf
            else:
                kept += 1
        return similar

    @staticmethod
    def _ranking(similar: np.ndarray[Any, Any], first: int) -> Iterator[int]:
        """Rows from the most similar on; those after the ``first`` are only sorted when they are asked for."""
        top = _top(similar, min(first, len(similar)))
        yield from top
        if len(top) < len(similar):
            yield from (int(row) for row in np.argsort(-similar, kind="stable") if int(row) not in set(top))

    def _cover(self, similar: np.ndarray[Any, Any], query: Any, k: int) -> list[int]:
        candidates = _top(similar, min(int(np.isfinite(similar).sum()), max(8 * k, 32)))
        weights = query.data
        held = self._rows[candidates][:, query.indices].toarray() > 0  # candidate i has the input's n-gram j
        covered = np.zeros(len(weights), dtype=bool)
        labels: set[str] = set()
        chosen: list[int] = []
        while len(chosen) < k:
            gain = (held & ~covered) @ weights
            fresh = [str(self.pool[row].reference) not in labels for row in candidates]
            order = [(float(gain[i]), fresh[i], -i) for i in range(len(candidates))]
            best = max((i for i in range(len(candidates)) if i not in chosen), key=order.__getitem__)
            covered |= held[best]
            labels.add(str(self.pool[candidates[best]].reference))
            chosen.append(best)
        return sorted((candidates[i] for i in chosen), key=lambda row: -similar[row])

    def _vectors(self, texts: list[str]) -> Any:
        if self.embedder is not None:
            return self.embedder.embed(texts)
        assert self._tfidf is not None
        return self._tfidf.transform(texts)

    def _spread(self, similar: np.ndarray[Any, Any], k: int) -> list[int]:
        candidates = _top(similar, min(int(np.isfinite(similar).sum()), max(4 * k, 16)))
        product = self._rows[candidates] @ self._rows[candidates].T
        alike = np.asarray(product.toarray() if hasattr(product, "toarray") else product)
        chosen: list[int] = []
        while len(chosen) < k:
            redundancy = alike[:, chosen].max(axis=1) if chosen else np.zeros(len(candidates))
            value = (1 - self.diversity) * similar[candidates] - self.diversity * redundancy
            value[chosen] = -np.inf
            chosen.append(int(value.argmax()))
        return [candidates[index] for index in chosen]

    def _draw(self) -> tuple[Example, ...]:
        rng = random.Random(self.seed)
        shuffled = list(self.pool)
        rng.shuffle(shuffled)
        by_label: dict[str, list[Example]] = {}
        for example in shuffled:
            by_label.setdefault(str(example.reference), []).append(example)
        if len(by_label) > len(self.pool) // 2:  # references are not labels: nothing to balance
            return tuple(shuffled[: self.k])
        drawn: list[Example] = []
        while len(drawn) < self.k:
            for queue in by_label.values():
                if queue and len(drawn) < self.k:
                    drawn.append(queue.pop())
        return tuple(drawn)


def _shingles(text: str) -> frozenset[str]:
    plain = normal(text)
    return frozenset(plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1)))


def _alike(one: frozenset[str], other: frozenset[str], threshold: float) -> bool:
    shared = len(one & other)
    return shared >= threshold * (len(one) + len(other) - shared)


def _top(similar: np.ndarray[Any, Any], k: int) -> list[int]:
    """Indices of the k largest, largest first; ties by position, so that selection is deterministic."""
    if k < len(similar):
        cut = np.partition(similar, -k)[-k]
        rows = np.flatnonzero(similar >= cut)
    else:
        rows = np.arange(len(similar))
    return [int(row) for row in rows[np.argsort(-similar[rows], kind="stable")][:k]]
