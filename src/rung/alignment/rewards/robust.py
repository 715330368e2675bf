"""Rewards that are harder to cheat: what is done to the rewards of a batch before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError

Array = NDArray[np.float64]
Defence = Callable[[Array, Array, Array], Array]
"""From the totals (answers,), the weighted parts (answers, parts) and the lengths in tokens (answers,) to other
totals."""


def minimum(totals: Array, parts: Array, lengths: Array) -> Array:
    """The worst of the parts instead of their sum: an ensemble whose members must all be pleased (Coste et al. 2024,
    arXiv:2310.02743). The parts are brought to one scale by their weights."""
    least: Array = parts.min(axis=1) * parts.shape[1]
    return least


def residual(totals: Array, parts: Array, lengths: Array) -> Array:
    """What is left of the reward after what length alone explains of it in this batch (least squares), about its mean:
    length is neither paid for nor fined."""
    spread = lengths - lengths.mean()
    size = float(spread @ spread)
    if size == 0:
        return totals
    left: Array = totals - spread * (float(spread @ totals) / size)
    return left


def clip(limit: float) -> Defence:
    """No answer is worth more than ``limit``: nothing is gained by more and more of the same."""

    def clipped(totals: Array, parts: Array, lengths: Array) -> Array:
        return np.minimum(totals, limit)

    return clipped


def read_defences(given: Any) -> list[Defence]:
    """Defences as a file writes them: ``minimum``, ``residual``, ``clip:0.8``, one or a list. Raises InputError."""
    items = [given] if isinstance(given, str) else list(given or [])
    out: list[Defence] = []
    for item in items:
        name, _, argument = str(item).partition(":")
        try:
            out.append(clip(float(argument)) if name == "clip" else {"minimum": minimum, "residual": residual}[name])
        except (KeyError, ValueError):
            raise InputError(
                f"got the defence {item!r}", remedy="expected minimum, residual or clip:NUMBER", code="defence"
            ) from None
    return out


def defend(
    defences: Sequence[Defence], totals: Sequence[float], parts: Sequence[Mapping[str, float]], lengths: Sequence[int]
) -> list[float]:
    """The rewards of a batch after all defences in order."""
    values = np.asarray(totals, np.float64)
    names = list(parts[0]) if parts else []
    columns = np.array([[part[name] for name in names] for part in parts], np.float64)
    for defence in defences:
        values = defence(values, columns, np.asarray(lengths, np.float64))
    return [float(value) for value in values]
