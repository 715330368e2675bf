"""Nearest neighbour: answer with the reference of the most similar training example (cosine over TF-IDF)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.core.codec import canonical
from rung.core.protocols import Context, Resources
from rung.core.types import Answer, Input, Task, text_of
from rung.foundations.tfidf import Tfidf


class NearestProgram:
    """The ``k`` nearest vote with their similarity; ties go to the nearer one. ``confidence`` is the winner's share."""

    kind = "nearest"
    model = None

    def __init__(self, texts: list[str], references: list[Any], k: int) -> None:
        self._texts, self._references, self._k = texts, references, k
        self._tfidf = Tfidf.fit(texts)
        self._rows = self._tfidf.transform(texts)

    def spec(self) -> dict[str, Any]:
        return {"k": self._k, "texts": self._texts, "references": self._references}

    def files(self) -> Mapping[str, Path]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        similar = (self._rows @ self._tfidf.transform([text_of(input)]).T).toarray()[:, 0]
        votes: dict[str, float] = defaultdict(float)
        voters: dict[str, Any] = {}
        for row in np.argsort(-similar, kind="stable")[: self._k]:
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
        return cls(list(spec["texts"]), list(spec["references"]), int(spec["k"]))


@dataclass(frozen=True)
class Nearest:
    """k nearest neighbours; k is the one of ``ks`` that does best on (at most ``dev``) dev examples."""

    uses_model: ClassVar[bool] = False

    ks: tuple[int, ...] = (1, 3, 7)
    dev: int = 300

    def fits(self, task: Task, resources: Resources) -> str:
        return "" if task.train else "there are no training examples"

    async def fit(self, task: Task, context: Context) -> NearestProgram:
        texts = [text_of(example.input) for example in task.train]
        references = [example.reference for example in task.train]
        programs = [NearestProgram(texts, references, k) for k in sorted({min(k, len(texts)) for k in self.ks})]
        if not task.dev or len(programs) == 1:
            return programs[0]
        quality = []
        for program in programs:
            results = await context.evaluate(program, task.dev[: self.dev])
            quality.append(float(np.mean([result.scores[task.metrics[0]].value for result in results])))
        return programs[int(np.argmax(quality))]
