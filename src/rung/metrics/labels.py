"""Macro-F1 and micro-F1 over labels, from each item's pair of labels.

An item's ``parts`` are two numbers: codes of its reference and of its prediction (-1: no prediction). A code is a hash
of the label's text, so scores made in different runs, or read back from a store, can be put together and resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.types import Case, Score
from rung.metrics.mean import check_scores, failed, references, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NONE = -1.0


@lru_cache(maxsize=4096)
def _code(label: str) -> float:
    """52 bits of a hash: exact as a float. Two of 1,000 labels share a code with probability 1e-10."""
    return float(int.from_bytes(blake2b(label.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 12)


def _text(value: Any) -> str | None:
    return None if value is None else str(value).strip()


class _Labels:
    """Scores pairs of labels; ``value`` of an item is 1 when they agree (the metric itself is not their mean)."""

    higher_is_better = True

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        return [_score(case) for case in cases]

    def reduce(self, scores: Sequence[Score], draws: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        """The metric for each row of ``draws`` (resamples, n); without draws shape (1,)."""
        check_scores(scores)
        pairs = np.array([score.parts for score in scores], dtype=np.float64).reshape(-1, 2)
        # Items with the same pair of labels are interchangeable: count pairs, not items. ``distinct`` is sorted by
        # reference. As complex numbers: they sort by both parts, and faster than rows do.
        both, kind = np.unique(pairs.view(np.complex128).reshape(-1), return_inverse=True)
        distinct = np.stack([both.real, both.imag], axis=1)
        if draws is None:
            counts = np.bincount(kind, minlength=len(distinct))[None, :]
        else:
            rows = len(draws)
            flat = kind.take(draws) + (np.arange(rows, dtype=np.intp) * len(distinct))[:, None]
            counts = np.bincount(flat.ravel(), minlength=rows * len(distinct)).reshape(rows, -1)
        labels, first = np.unique(distinct[:, 0], return_index=True)
        right, predicted = (np.zeros((len(counts), len(labels)), dtype=np.intp) for _ in range(2))
        agree = np.flatnonzero(distinct[:, 0] == distinct[:, 1])
        right[:, np.searchsorted(labels, distinct[agree, 0])] = counts[:, agree]
        known = np.flatnonzero(np.isin(distinct[:, 1], labels))
        known = known[np.argsort(distinct[known, 1], kind="stable")]
        if len(known):
            names, start = np.unique(distinct[known, 1], return_index=True)
            predicted[:, np.searchsorted(labels, names)] = np.add.reduceat(counts[:, known], start, axis=1)
        return self.combine(
            right.astype(np.float64),
            np.add.reduceat(counts, first, axis=1).astype(np.float64),
            predicted.astype(np.float64),
            counts[:, distinct[:, 1] != _NONE].sum(axis=1).astype(np.float64),
        )

    def combine(
        self,
        right: NDArray[np.float64],
        expected: NDArray[np.float64],
        predicted: NDArray[np.float64],
        given: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """From counts of shape (resamples, labels), and of items with a prediction (resamples,), to (resamples,)."""
        raise NotImplementedError


def _score(case: Case) -> Score:
    """Of several references the one that was predicted counts, else the first."""
    options = [text for option in references(case) if (text := _text(option)) is not None] or [""]
    if case.failure is not None:
        return failed(case, (_code(options[0]), _NONE))
    got = _text(case.output)
    wanted = got if got is not None and got in options else options[0]
    parts = (_code(wanted), _NONE if got is None else _code(got))
    if got == wanted:
        return Score(1.0, f"{shown(got)} as expected", parts)
    return Score(0.0, f"expected {shown(wanted)}, got {shown(got)}", parts)


class MacroF1(_Labels):
    """Mean of the labels' F1 over the labels that occur as a reference.

    Equal to scikit-learn's ``f1_score(average="macro", labels=unique(references))``. A label that is predicted but
    never expected has no recall, so it is no class of its own; the item it was predicted for counts as missed. A failed
    item is missed too. A resample averages over the labels that it holds.
    """

    name = "macro-f1"

    def combine(
        self,
        right: NDArray[np.float64],
        expected: NDArray[np.float64],
        predicted: NDArray[np.float64],
        given: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        f1 = 2 * right / np.maximum(expected + predicted, 1)
        present = expected > 0
        mean: NDArray[np.float64] = (f1 * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        return mean


class MicroF1(_Labels):
    """F1 of all items pooled: 2 right / (items + items with a prediction). Without failures it equals accuracy; a
    failed item lowers recall but not precision."""

    name = "micro-f1"

    def combine(
        self,
        right: NDArray[np.float64],
        expected: NDArray[np.float64],
        predicted: NDArray[np.float64],
        given: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        value: NDArray[np.float64] = 2 * right.sum(axis=1) / (expected.sum(axis=1) + given)
        return value


MACRO_F1 = MacroF1()
MICRO_F1 = MicroF1()
