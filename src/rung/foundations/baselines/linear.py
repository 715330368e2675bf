"""Multinomial logistic regression over TF-IDF, one-hot words or an embedder's vectors: the classic text classifier,
often the cheapest that is good enough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.program import inside
from rung.core.protocols import Context, Embedder, Resources, Traits
from rung.core.system.arrays import read_arrays
from rung.core.types import Answer, Input, Progress, Task, text_of
from rung.foundations.text.tfidf import Onehot, Tfidf, save_arrays

WEIGHTS = "linear.npz"
SEARCH = 2500
"""Training rows on which the regularisation is chosen at most."""


class LinearProgram:
    """Predicts the most probable label; ``confidence`` is its softmax probability."""

    kind = "linear"
    model = None

    def __init__(self, path: Path, embedder: Embedder | None = None) -> None:
        self._path = path
        self._embedder = embedder
        arrays = read_arrays(path)
        self._counts: Tfidf | Onehot | None = None
        if embedder is None:
            self._counts = Onehot.restore(arrays) if "onehot" in arrays else Tfidf.restore(arrays)
        self._labels = arrays["labels"].tobytes().decode().split("\n")
        self._coef: np.ndarray[Any, Any] = arrays["coef"]
        self._intercept: np.ndarray[Any, Any] = arrays["intercept"]
        features = self._counts.features if self._counts is not None else self._coef.shape[-1]
        if self._coef.shape != (len(self._labels), features) or self._intercept.shape != (len(self._labels),):
            raise ValueError(f"{path.name} has weights of shape {self._coef.shape} for {len(self._labels)} labels")
        if not (np.isfinite(self._coef).all() and np.isfinite(self._intercept).all()):
            raise ValueError(f"{path.name} has weights that are not finite")

    def spec(self) -> dict[str, Any]:
        if self._embedder is None:
            return {}
        return {"embedder": self._embedder.name, "fingerprint": self._embedder.fingerprint}

    def files(self) -> Mapping[str, Path]:
        return {WEIGHTS: self._path}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        texts = [text_of(input)]
        if self._embedder is not None:
            rows: Any = await asyncio.to_thread(self._embedder.embed, texts)
        else:
            rows = self._counts.transform(texts) if self._counts is not None else None
        logits = (rows @ self._coef.T + self._intercept)[0]
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return Answer(self._labels[best], raw=self._labels[best], confidence=float(odds[best] / odds.sum()))

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> LinearProgram:
        """Raises InputError when the embedder of that name is not the one that it was fitted with."""
        if "embedder" not in spec:
            return cls(inside(folder, WEIGHTS))
        embedder = resources.embedder(spec["embedder"])
        if embedder.fingerprint != spec["fingerprint"]:
            raise InputError(
                f"the program was fitted with another {embedder.name} than is here", remedy="climb the rung again"
            )
        return cls(inside(folder, WEIGHTS), embedder)


def regress(rows: Any, labels: Any, **options: Any) -> Any:
    """scikit-learn's logistic regression with ``options``, fitted on one thread: the products are small, and BLAS
    threads that share busy cores wait for each other (seconds for 0.1 s)."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return LogisticRegression(max_iter=1000, **options).fit(rows, labels)


@dataclass(frozen=True)
class Linear:
    """Logistic regression; the inverse regularisation is the one of ``strengths`` that does best on dev.

    ``features``: ``tfidf`` (word and character n-grams), ``onehot`` (which words are there), or the name of an embedder
    (``static``, ``minilm``, ...).
    """

    traits: ClassVar[Traits] = Traits(uses_model=False)

    strengths: tuple[float, ...] = (1.0, 10.0, 100.0)
    features: str = "tfidf"

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.kind != "labels":
            return "it predicts labels, and this task's answers are not a label set"
        if len({example.reference for example in task.train}) < 2:
            return "training examples of at least two labels are needed"
        return ""

    async def fit(self, task: Task, context: Context) -> LinearProgram:
        texts = [text_of(example.input) for example in task.train]
        labels = [str(example.reference) for example in task.train]
        embedder = None if self.features in ("tfidf", "onehot") else context.resources.embedder(self.features)
        counts: Tfidf | Onehot | None = None
        if embedder is None:
            counts = Onehot.fit(texts) if self.features == "onehot" else Tfidf.fit(texts)

        def transform(some: list[str]) -> Any:
            return (
                embedder.embed(some) if embedder is not None else counts.transform(some) if counts is not None else None
            )

        rows = await asyncio.to_thread(transform, texts)
        dev = await asyncio.to_thread(transform, [text_of(example.input) for example in task.dev]) if task.dev else None
        wanted = np.array([str(example.reference) for example in task.dev])
        # The strength is chosen on part of a large train split: one fit of 15,000 rows and 150 labels takes minutes.
        part = min(len(labels), SEARCH)
        best = (-1.0, self.strengths[0])
        for done, strength in enumerate(self.strengths):
            if dev is None or len(self.strengths) == 1:
                break
            trial = await asyncio.to_thread(regress, rows[:part], labels[:part], C=strength)
            right = float((trial.predict(dev) == wanted).mean())
            best = max(best, (right, strength), key=lambda found: found[0])
            note = f"C={strength:g} dev accuracy {right:.3f}"
            context.progress(Progress("choose C", done + 1, len(self.strengths), note))
        context.progress(Progress("fit", 0, 1, f"C={best[1]:g} on {len(labels)} rows"))
        final = await asyncio.to_thread(regress, rows, labels, C=best[1])
        coef, intercept, classes = final.coef_, final.intercept_, final.classes_
        if len(classes) == 2:  # sklearn keeps one row for two classes; two rows make one formula for all
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        path = context.folder / WEIGHTS
        save_arrays(
            path,
            {
                **(counts.arrays() if counts is not None else {}),
                "labels": np.frombuffer("\n".join(map(str, classes)).encode(), dtype=np.uint8),
                "coef": coef.astype(np.float32),
                "intercept": intercept.astype(np.float32),
            },
        )
        return LinearProgram(path, embedder)
