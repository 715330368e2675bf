"""TF-IDF + multinomial logistic regression: the classic text classifier, often the cheapest that is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.core.protocols import Context, Resources
from rung.core.types import Answer, Input, Progress, Task, text_of
from rung.foundations.tfidf import Tfidf, save_arrays

WEIGHTS = "linear.npz"
SEARCH = 2500
"""Training rows on which the regularisation is chosen at most."""


class LinearProgram:
    """Predicts the most probable label; ``confidence`` is its softmax probability."""

    kind = "linear"
    model = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with np.load(path, allow_pickle=False) as arrays:
            self._tfidf = Tfidf.restore(arrays)
            self._labels = arrays["labels"].tobytes().decode().split("\n")
            self._coef: np.ndarray[Any, Any] = arrays["coef"]
            self._intercept: np.ndarray[Any, Any] = arrays["intercept"]

    def spec(self) -> dict[str, Any]:
        return {}

    def files(self) -> Mapping[str, Path]:
        return {WEIGHTS: self._path}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        logits = (self._tfidf.transform([text_of(input)]) @ self._coef.T + self._intercept)[0]
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return Answer(self._labels[best], raw=self._labels[best], confidence=float(odds[best] / odds.sum()))

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> LinearProgram:
        return cls(folder / WEIGHTS)


@dataclass(frozen=True)
class Linear:
    """TF-IDF + logistic regression; the inverse regularisation is the one of ``strengths`` that does best on dev."""

    uses_model: ClassVar[bool] = False

    strengths: tuple[float, ...] = (1.0, 10.0, 100.0)

    def fits(self, task: Task, resources: Resources) -> str:
        if task.form.kind != "labels":
            return "it predicts labels, and this task's answers are not a label set"
        if len({example.reference for example in task.train}) < 2:
            return "training examples of at least two labels are needed"
        return ""

    async def fit(self, task: Task, context: Context) -> LinearProgram:
        from sklearn.linear_model import LogisticRegression

        texts = [text_of(example.input) for example in task.train]
        labels = [str(example.reference) for example in task.train]
        tfidf = Tfidf.fit(texts)
        rows = tfidf.transform(texts)
        dev = tfidf.transform([text_of(example.input) for example in task.dev]) if task.dev else None
        wanted = np.array([str(example.reference) for example in task.dev])
        # The strength is chosen on part of a large train split: one fit of 15,000 rows and 150 labels takes minutes.
        part = min(len(labels), SEARCH)
        best = (-1.0, self.strengths[0])
        for done, strength in enumerate(self.strengths):
            if dev is None or len(self.strengths) == 1:
                break
            trial = LogisticRegression(C=strength, max_iter=1000).fit(rows[:part], labels[:part])
            right = float((trial.predict(dev) == wanted).mean())
            best = max(best, (right, strength), key=lambda found: found[0])
            note = f"C={strength:g} dev accuracy {right:.3f}"
            context.progress(Progress("choose C", done + 1, len(self.strengths), note))
        context.progress(Progress("fit", 0, 1, f"C={best[1]:g} on {len(labels)} rows"))
        final = LogisticRegression(C=best[1], max_iter=1000).fit(rows, labels)
        coef, intercept, classes = final.coef_, final.intercept_, final.classes_
        if len(classes) == 2:  # sklearn keeps one row for two classes; two rows make one formula for all
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        path = context.folder / WEIGHTS
        save_arrays(
            path,
            {
                **tfidf.arrays(),
                "labels": np.frombuffer("\n".join(map(str, classes)).encode(), dtype=np.uint8),
                "coef": coef.astype(np.float32),
                "intercept": intercept.astype(np.float32),
            },
        )
        return LinearProgram(path)
