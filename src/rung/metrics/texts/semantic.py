"""Semantic similarity: the cosine between the answer's and the reference's embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.core.protocols import Embedder, Resources
from rung.core.types import Case, Score
from rung.metrics.mean import Mean, failed, references, shown


class SemanticSimilarity(Mean):
    """Cosine with the nearest reference, negative ones counted as 0. ``semantic:EMBEDDER`` names the embedder."""

    def __init__(self, embedder: Embedder, name: str = "semantic") -> None:
        self.name = name
        self._embedder = embedder

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        texts: dict[str, int] = {}
        for case in cases:
            if case.failure is None:
                for text in (_text(case.output), *map(_text, references(case))):
                    texts.setdefault(text, len(texts))
        vectors = self._embedder.embed(list(texts)) if texts else np.zeros((0, 1), dtype=np.float32)
        scores = []
        for case in cases:
            if case.failure is not None:
                scores.append(failed(case))
                continue
            mine = vectors[texts[_text(case.output)]].astype(np.float64)
            options = references(case)
            near = [float(mine @ vectors[texts[_text(option)]].astype(np.float64)) for option in options]
            best = int(np.argmax(near))
            value = min(max(near[best], 0.0), 1.0)
            scores.append(
                Score(value, f"cosine {near[best]:.3f} with {shown(options[best])}, got {shown(case.output)}")
            )
        return scores


def _text(value: object) -> str:
    return "" if value is None else str(value)


def open_semantic(argument: str, resources: Resources) -> SemanticSimilarity:
    """``semantic`` with the default embedder or ``semantic:NAME``."""
    name = argument.strip() or None
    return SemanticSimilarity(resources.embedder(name), f"semantic:{name}" if name else "semantic")
