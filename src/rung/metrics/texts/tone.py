"""How much a reply sounds like the house: a classifier over TF-IDF, learnt from sentences that do and that do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Case, Score
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import Layout
from rung.foundations.text.sentences import lines
from rung.metrics.mean import Mean, failed, shown
from rung.metrics.rules.beside import beside

SHORT = 3
"""Sentences of fewer words (a greeting, a name) have no tone of their own."""
STRENGTH = 10.0


class Voice:
    """Logistic regression over word and character n-grams: the probability that a sentence is the house's own."""

    def __init__(self, texts: Sequence[str], own: Sequence[bool]) -> None:
        from rung.foundations.baselines.linear import regress
        from rung.foundations.text.tfidf import Tfidf

        self._counts, rows = Tfidf.learn(texts)
        self._model = regress(rows, np.asarray(own, dtype=bool), C=STRENGTH)

    def __call__(self, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        return [float(value) for value in self._model.predict_proba(self._counts.transform(texts))[:, 1]]


class Tone(Mean):
    """The mean probability of a reply's sentences to be the house's own; ``why`` shows the one that is least so."""

    def __init__(self, voice: Voice, name: str = "tone") -> None:
        self.name = name
        self._voice = voice

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        pieces = [[] if case.failure else sentences("" if case.output is None else str(case.output)) for case in cases]
        values = iter(self._voice([piece for part in pieces for piece in part]))
        scores = []
        for case, part in zip(cases, pieces, strict=True):
            if case.failure is not None:
                scores.append(failed(case))
                continue
            found = [next(values) for _ in part]
            if not found:
                scores.append(Score(0.0, f"no sentence in {shown(case.output)}"))
                continue
            least = min(zip(found, part, strict=True))
            scores.append(Score(sum(found) / len(found), f"least the house's tone ({least[0]:.2f}): {shown(least[1])}"))
        return scores


def sentences(text: str) -> list[str]:
    """The sentences of a reply that are long enough to have a tone."""
    return [piece for span in lines(text) if len((piece := text[span.start : span.end]).split()) >= SHORT]


def read_voice(path: Path) -> tuple[list[str], list[bool]]:
    """Sentences of a JSONL file: ``{"text": ..., "own": true}``. Raises InputError for other rows, or when one side is
    missing."""
    texts, own = [], []
    for row in tables.rows(path, Layout("jsonl")):
        text, mine = row.values.get("text"), row.values.get("own")
        if not isinstance(text, str) or not isinstance(mine, bool):
            raise InputError(
                'expected {"text": "...", "own": true or false}', file=path, line=row.line, remedy="correct the row"
            )
        texts.append(text)
        own.append(mine)
    if len(set(own)) < 2:
        raise InputError(
            "sentences of one side only", file=path, remedy="add sentences with own true and with own false"
        )
    return texts, own


def open_tone(argument: str, resources: Resources) -> Tone:
    """``tone:FILE``."""
    return Tone(Voice(*read_voice(beside("tone", argument))), f"tone:{argument}")
