"""Nearest neighbour: answer with the reference of the most similar training example (cosine over TF-IDF)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.core.codec import canonical
from rung.core.parts.program import Rows, inside
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Answer, Input, Task, text_of
from rung.foundations.text.tfidf import Similar, top


class NearestProgram:
    """The ``k`` nearest vote with their similarity; ties go to the nearer one. ``confidence`` is the winner's share."""

    kind = "nearest"
    model = None

    def __init__(self, texts: list[str], references: list[Any], k: int) -> None:
        self._references, self._k = references, k
        self._similar = Similar(texts)
        self._rows = Rows("pool", list(zip(texts, references, strict=True)))

    def with_k(self, k: int) -> NearestProgram:
        """The same program with another ``k``, sharing the vectors."""
        other = copy(self)
        other._k = k
        return other

    def spec(self) -> dict[str, Any]:
        return {"k": self._k, "pool": self._rows.name}

    def files(self) -> Mapping[str, bytes]:
        return self._rows.files()

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        similar = self._similar(text_of(input))
        votes: dict[str, float] = defaultdict(float)
        voters: dict[str, Any] = {}
        for row in top(similar, self._k):
            key = canonical(self._references[row])
            votes[key] += float(similar[row])
            voters.setdefault(key, self._references[row])
        winner = max(votes, key=votes.__getitem__)
        total = sum(votes.values())
        return Answer(
            voters[winner],
            raw=winner if not isinstance(voters[winner], str) else voters[winner],
            confidence=votes[winner] / total if total > 0 else 0.0,
        )

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> NearestProgram:
        pool = Rows.read(inside(folder, spec["pool"]))
        return cls([text for text, _ in pool], [reference for _, reference in pool], int(spec["k"]))


@dataclass(frozen=True)
class Nearest:
    """k nearest neighbours; k is the one of ``ks`` that does best on (at most ``dev``) dev examples."""

    traits: ClassVar[Traits] = Traits(uses_model=False)

    ks: tuple[int, ...] = (1, 3, 7)
    dev: int = 300

    def __post_init__(self) -> None:
        if not self.ks or any(type(k) is not int or k < 1 for k in self.ks):
            raise ValueError(f"ks is {list(self.ks)}, expected numbers of neighbours such as [1, 3]")

    def obstacle(self, task: Task, resources: Resources) -> str:
        return "" if task.train else "there are no training examples"

    async def fit(self, task: Task, context: Context) -> NearestProgram:
        texts = [text_of(example.input) for example in task.train]
        references = [example.reference for example in task.train]
        widest = NearestProgram(texts, references, max(self.ks))
        programs = [widest.with_k(k) for k in sorted({min(k, len(texts)) for k in self.ks})]
        if not task.dev or len(programs) == 1:
            return programs[0]
        quality = []
        for program in programs:
            results = await context.evaluate(program, task.dev[: self.dev])
            quality.append(float(np.mean([result.scores[task.metrics[0]].value for result in results])))
        return programs[int(np.argmax(quality))]
