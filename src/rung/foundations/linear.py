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
        best: tuple[float, Any] | None = None
        for done, strength in enumerate(self.strengths):
            classifier = LogisticRegression(C=strength, max_iter=1000).fit(rows, labels)
            right = 0.0 if dev is None else float((classifier.predict(dev) == wanted).mean())
            if best is None or right > best[0]:
                best = (right, classifier)
            context.progress(Progress("fit", done + 1, len(self.strengths), f"C={strength:g} dev accuracy {right:.3f}"))
        assert best is not None
        coef, intercept, classes = best[1].coef_, best[1].intercept_, best[1].classes_
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
