"""Choices that differ: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mmr(relevance: NDArray[Any], alike: Callable[[int], NDArray[Any]], k: int, weight: float) -> list[int]:
    """Positions of up to ``k`` candidates, chosen one after another: each has the highest
    ``weight * relevance - (1 - weight) * likeness``, where likeness is the largest similarity to one that is chosen
    already. Ties go to the first.

    ``relevance`` has shape (n,); ``alike(i)`` gives the similarities (n,) of all candidates to candidate i.
    """
    count = len(relevance)
    chosen: list[int] = []
    likeness = np.zeros(count, np.float64)
    left = np.ones(count, np.bool_)
    while len(chosen) < min(k, count):
        gain = np.where(left, weight * relevance - (1 - weight) * likeness, -np.inf)
        best = int(gain.argmax())
        left[best] = False
        likeness = np.maximum(likeness, alike(best)) if chosen else alike(best)
        chosen.append(best)
    return chosen
