"""Which examples go into a prompt: random, nearest (kNN), near and diverse (MMR), or covering the input (coverage)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from rung.core.codec import decode, encode
from rung.core.errors import InputError
from rung.core.parts.program import Rows, inside
from rung.core.protocols import Embedder, Resources
from rung.core.types import Example, Input, text_of
from rung.foundations.text.mmr import mmr
from rung.foundations.text.tfidf import Similar, top
from rung.tasks.identity import identity
from rung.tasks.near import SHINGLE

Kind = Literal["random", "knn", "mmr", "coverage"]


class Selector:
    """Chooses ``k`` examples of ``pool`` for an input.

    ``random`` is one fixed draw (every input sees the same examples, so their prefix is shared); it takes labels in
    turn. ``knn`` takes the most similar, the nearest one last (closest to the question; Liu et al. 2022,
    arXiv:2101.06804). ``mmr`` trades similarity against redundancy with weight ``diversity`` (Carbonell and Goldstein
    1998). ``coverage`` takes, greedily, the examples that together cover most of the input's n-grams, each weighted by
    its TF-IDF (set coverage; Gupta et al. 2023, arXiv:2305.14907); among equals the one whose label is not yet shown.
    ``exclude`` > 0 leaves out examples that are near-duplicates of the input: those whose sets of 5-character shingles
    have at least that Jaccard similarity with its set. A test item's twin in the pool would give its answer away.
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
        if k < 0:
            raise InputError(f"got k {k}, expected at least 0", remedy="write k: 5")
        self.kind, self.k, self.pool, self.embedder = kind, min(k, len(pool)), tuple(pool), embedder
        if kind == "coverage":
            self.embedder = embedder = None  # dense vectors have no n-grams to cover
        self.seed, self.diversity, self.exclude = seed, diversity, exclude
        self._sets: dict[int, frozenset[str]] = {}
        self._fixed = self._draw() if kind == "random" else ()
        self._rows = Rows("pool", self.pool)
        if kind != "random" and self.k:
            texts = [text_of(example.input) for example in pool]
            if embedder is None:
                self._words: Similar | None = Similar(texts)
                self._vectors: Any = self._words.rows
            else:
                self._words, self._vectors = None, embedder.embed(texts)

    @classmethod
    def fixed(cls, examples: Sequence[Example], *, seed: int = 0, exclude: float = 0.0) -> Selector:
        """Always these examples, in this order."""
        selector = cls("random", 0, (), seed=seed, exclude=exclude)
        selector.pool = selector._fixed = tuple(examples)
        selector.k = len(selector.pool)
        return selector

    @property
    def shown(self) -> tuple[Example, ...]:
        """What it can show: the drawn examples, or the pool that is searched."""
        return self._fixed if self.kind == "random" else self.pool

    def spec(self) -> dict[str, Any]:
        """What ``load`` needs to choose the same again: the drawn examples, or the name of the file that holds the
        pool."""
        spec: dict[str, Any] = {"kind": self.kind, "seed": self.seed}
        if self.exclude:
            spec["exclude"] = self.exclude
        if self.kind == "random":
            return {**spec, "examples": encode(self._fixed)}
        embedder = self.embedder.name if self.embedder is not None else None
        return {**spec, "k": self.k, "diversity": self.diversity, "embedder": embedder, "pool": self._rows.name}

    def files(self) -> Mapping[str, bytes]:
        """The pool that is searched."""
        return {} if self.kind == "random" else self._rows.files()

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Selector:
        """The selector that ``spec`` describes; its pool lies in ``folder``."""
        exclude = spec.get("exclude", 0.0)
        if spec["kind"] == "random":
            return cls.fixed([decode(Example, item) for item in spec["examples"]], seed=spec["seed"], exclude=exclude)
        return cls(
            decode(cast(Any, Kind), spec["kind"]),
            decode(int, spec["k"]),
            [decode(Example, item) for item in Rows.read(inside(folder, spec["pool"]))],
            embedder=resources.embedder(spec["embedder"]) if spec["embedder"] else None,
            seed=spec["seed"],
            diversity=spec["diversity"],
            exclude=exclude,
        )

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
        if self._words is not None:
            similar = self._words(text)
        else:
            assert self.embedder is not None
            similar = self._vectors @ self.embedder.embed([text])[0]
        rows = self._candidates(similar, text)
        if self.kind == "coverage":
            chosen = self._cover(rows, similar, text)
        else:
            chosen = self._spread(rows, similar) if self.kind == "mmr" else rows
        return tuple(self.pool[row] for row in reversed(chosen))

    def _candidates(self, similar: NDArray[np.float32], text: str) -> list[int]:
        """The rows to choose from, nearest first: as many as ``kind`` looks at, none of them a near-duplicate of
        ``text``."""
        wanted = min(
            {"mmr": max(4 * self.k, 16), "coverage": max(8 * self.k, 32)}.get(self.kind, self.k), len(self.pool)
        )
        if not self.exclude:
            return top(similar, wanted)
        own = _shingles(text)
        kept: list[int] = []
        for row in self._ranking(similar, 2 * wanted):
            if row not in self._sets:
                self._sets[row] = _shingles(text_of(self.pool[row].input))
            if not _alike(own, self._sets[row], self.exclude):
                kept.append(row)
                if len(kept) == wanted:
                    break
        return kept

    @staticmethod
    def _ranking(similar: NDArray[np.float32], first: int) -> Iterator[int]:
        """Rows from the most similar on; those after the ``first`` are only sorted when they are asked for."""
        nearest = top(similar, min(first, len(similar)))
        yield from nearest
        if len(nearest) < len(similar):
            seen = set(nearest)
            yield from (int(row) for row in np.argsort(-similar, kind="stable") if int(row) not in seen)

    def _cover(self, candidates: list[int], similar: NDArray[np.float32], text: str) -> list[int]:
        assert self._words is not None
        features, weights = self._words.tfidf.row(text)
        held = self._vectors[candidates][:, features].toarray() > 0  # candidate i has the input's n-gram j
        covered = np.zeros(len(weights), dtype=bool)
        labels: set[str] = set()
        chosen: list[int] = []
        while len(chosen) < min(self.k, len(candidates)):
            gain = (held & ~covered) @ weights
            fresh = [str(self.pool[row].reference) not in labels for row in candidates]
            order = [(float(gain[i]), fresh[i], -i) for i in range(len(candidates))]
            best = max((i for i in range(len(candidates)) if i not in chosen), key=order.__getitem__)
            covered |= held[best]
            labels.add(str(self.pool[candidates[best]].reference))
            chosen.append(best)
        return sorted((candidates[i] for i in chosen), key=lambda row: -similar[row])

    def _spread(self, candidates: list[int], similar: NDArray[np.float32]) -> list[int]:
        rows = self._vectors[candidates]
        product = rows @ rows.T
        alike = np.asarray(product.toarray() if hasattr(product, "toarray") else product)
        chosen = mmr(similar[candidates], alike.__getitem__, self.k, 1 - self.diversity)
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
    plain = identity(text)
    return frozenset(plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1)))


def _alike(one: frozenset[str], other: frozenset[str], threshold: float) -> bool:
    shared = len(one & other)
    return shared >= threshold * (len(one) + len(other) - shared)
