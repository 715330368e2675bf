"""Hits that differ, by maximal marginal relevance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rung.foundations import diversity

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spread(vectors: NDArray[np.float32], scores: NDArray[np.float32], k: int, weight: float) -> list[int]:
    """Positions of up to k candidates, as ``rung.foundations.diversity`` chooses them.

    ``vectors`` has shape (n, dimensions), rows of unit length, whose cosine is the likeness; ``scores`` (n,) are scaled to 0..1
    to be the relevance.
    """
    low, high = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    relevance = (scores - low) / (high - low) if high > low else np.ones(len(scores), np.float32)
    return diversity.spread(relevance, lambda place: vectors @ vectors[place], k, weight)
