"""Which examples go into a prompt: random, nearest (kNN), or near and diverse (MMR)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rung.core.protocols import Embedder
from rung.core.types import Example, Input, text_of
from rung.foundations.tfidf import Tfidf

Kind = Literal["random", "knn", "mmr"]


class Selector:
    """Chooses ``k`` examples of ``pool`` for an input.

    ``random`` is one fixed draw (every input sees the same examples, so their prefix is shared); it takes labels in turn.
    ``knn`` takes the most similar, the nearest one last (closest to the question; Liu et al. 2022, arXiv:2101.06804).
    ``mmr`` trades similarity against redundancy with weight ``diversity`` (Carbonell and Goldstein 1998).
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
    ) -> None:
        self.kind, self.k, self.pool, self.embedder = kind, min(k, len(pool)), tuple(pool), embedder
        self.seed, self.diversity = seed, diversity
        self._fixed = self._draw() if kind == "random" else ()
        if kind != "random" and self.k:
            texts = [text_of(example.input) for example in pool]
            self._tfidf = Tfidf.fit(texts) if embedder is None else None
            self._rows: Any = self._vectors(texts)

    @classmethod
    def fixed(cls, examples: Sequence[Example], *, seed: int = 0) -> Selector:
        """Always these examples, in this order."""
        selector = cls("random", 0, (), seed=seed)
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
        if self.kind == "random" or not self.k:
            return self._fixed
        query = self._vectors([text_of(input)])
        product = self._rows @ query.T
        similar = np.asarray(product.toarray() if hasattr(product, "toarray") else product)[:, 0]
        chosen = self._spread(similar) if self.kind == "mmr" else _top(similar, self.k)
        return tuple(self.pool[row] for row in reversed(chosen))

    def _vectors(self, texts: list[str]) -> Any:
        if self.embedder is not None:
            return self.embedder.embed(texts)
        assert self._tfidf is not None
        return self._tfidf.transform(texts)

    def _spread(self, similar: np.ndarray[Any, Any]) -> list[int]:
        candidates = _top(similar, min(len(similar), max(4 * self.k, 16)))
        product = self._rows[candidates] @ self._rows[candidates].T
        alike = np.asarray(product.toarray() if hasattr(product, "toarray") else product)
        chosen: list[int] = []
        while len(chosen) < self.k:
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


def _top(similar: np.ndarray[Any, Any], k: int) -> list[int]:
    """Indices of the k largest, largest first; ties by position, so that selection is deterministic."""
    if k < len(similar):
        cut = np.partition(similar, -k)[-k]
        rows = np.flatnonzero(similar >= cut)
    else:
        rows = np.arange(len(similar))
    return [int(row) for row in rows[np.argsort(-similar[rows], kind="stable")][:k]]
