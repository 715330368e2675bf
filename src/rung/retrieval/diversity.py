"""Hits that differ: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spread(vectors: NDArray[np.float32], scores: NDArray[np.float32], k: int, weight: float) -> list[int]:
    """Positions of up to k candidates, chosen one after another: each has the highest ``weight * relevance - (1 - weight) *
    likeness``, where likeness is the largest cosine with one that is chosen already.

    ``vectors`` has shape (n, dimensions), rows of unit length; ``scores`` (n,) are scaled to 0..1 to be the relevance.
    """
    count = len(scores)
    low, high = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    relevance = (scores - low) / (high - low) if high > low else np.ones(count, np.float32)
    chosen: list[int] = []
    likeness = np.zeros(count, np.float32)
    left = np.ones(count, np.bool_)
    for _ in range(min(k, count)):
        gain = np.where(left, weight * relevance - (1 - weight) * likeness, -np.inf)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        likes = vectors @ vectors[best]
        likeness = likes if len(chosen) == 1 else np.maximum(likeness, likes)
    return chosen
