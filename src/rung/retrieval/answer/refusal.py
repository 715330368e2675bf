"""Whether the passages hold an answer at all: the probability, from what was retrieved, before any model is asked.

A logistic model over four numbers that mean the same in every collection. Its default weights were fitted on 150
questions of XQuAD and 150 of COVID-QA: as they are, with their document taken away, and asked of the other set's
documents (``bench/rag.py``, figures in docs/results); ``RefusalModel.fit`` fits it to questions of one's own. How far
the passages say the answer was tried as a fifth number and told nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.errors import InputError
from rung.core.types import Hit
from rung.foundations.text.sentences import sentences
from rung.metrics.texts.grounding import missing, words

NAMES = ("passage", "sentence", "dense", "known")


def features(question: str, hits: Sequence[Hit]) -> tuple[float, ...]:
    """``passage`` and ``sentence``: the largest share of the question's words in one passage, and in two
    neighbouring sentences; ``dense``: the best cosine (without vectors what it is on average with such a
    ``passage``); ``known``: 1 when every number and name of the question stands in one passage. All 0 without
    passages."""
    if not hits:
        return 0.0, 0.0, 0.0, 0.0
    asked = words(question)
    passage = sentence = 0.0
    for hit in hits:
        text = hit.passage.text
        passage = max(passage, _share(asked, text))
        spans = list(sentences(text))
        for at, span in enumerate(spans):
            stop = spans[min(at + 1, len(spans) - 1)].end
            sentence = max(sentence, _share(asked, text[span.start : stop]))
    cosines = [hit.parts["dense"] for hit in hits if "dense" in hit.parts]
    dense = max(cosines) if cosines else 0.25 + 0.5 * passage
    known = float(any(not missing(question, hit.passage.text) for hit in hits))
    return passage, sentence, dense, known


def _share(asked: frozenset[str], text: str) -> float:
    return len(asked & words(text)) / max(1, len(asked))


@dataclass(frozen=True, slots=True)
class RefusalModel:
    """``weights`` in the order of NAMES. An answer whose probability is below ``threshold`` is refused."""

    weights: tuple[float, ...] = (3.0, 3.0, 3.8, 0.5)
    bias: float = -5.3
    threshold: float = 0.45

    def __post_init__(self) -> None:
        if len(self.weights) != len(NAMES) or not 0 <= self.threshold <= 1:
            raise InputError(
                f"a gate has {len(NAMES)} weights and a threshold from 0 to 1, got {len(self.weights)} and {self.threshold}",
                remedy="leave them out, or use Gate.fit",
            )

    def probability(self, values: Sequence[float]) -> float:
        """That the passages hold the answer."""
        total = self.bias + sum(weight * value for weight, value in zip(self.weights, values, strict=True))
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))

    @classmethod
    def fit(cls, rows: Sequence[Sequence[float]], answerable: Sequence[bool]) -> RefusalModel:
        """Logistic regression over ``features`` of questions known to be answerable or not, with the threshold that
        gives the best balanced accuracy on them. Raises InputError when one of the two kinds is missing."""
        import numpy as np

        from rung.foundations.baselines.linear import regress

        labels = np.array(answerable, bool)
        if labels.all() or not labels.any():
            raise InputError(
                "a gate is fitted on answerable and unanswerable questions; got one kind only",
                remedy="add questions whose answer the passages do not hold",
            )
        model = regress(np.array(rows, np.float64), labels, class_weight="balanced", C=1.0)
        found = cls(tuple(float(weight) for weight in model.coef_[0]), float(model.intercept_[0]))
        scores = np.array([found.probability(row) for row in rows])
        places = np.unique(scores)
        middles = (places[1:] + places[:-1]) / 2 if len(places) > 1 else places
        right = [((scores >= at)[labels].mean() + (scores < at)[~labels].mean()) / 2 for at in middles]
        return cls(found.weights, found.bias, float(middles[int(np.argmax(right))]))
