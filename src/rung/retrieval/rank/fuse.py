"""One ranking from two: what the vectors found and what the words found.

``rrf`` adds 1 / (60 + place) (Cormack et al., SIGIR 2009). ``weighted`` adds scores brought to 0..1 (a convex
combination does better than ranks: Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023).
``adaptive`` is ``weighted`` with a weight for each query, see ``share``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

from rung.core.errors import InputError

Fusion = Literal["adaptive", "rrf", "weighted"]
Id = TypeVar("Id", int, str)

RANK = 60
EVEN = 0.5

BASE, COVERED, STANDS_OUT = -1.0, -2.5, 4.0
"""The prior of ``share``, fitted on eight data sets by bench/fusion.py; none of the sets whose results are published
is among them."""


def fuse(
    dense: Sequence[tuple[Id, float]],
    keyword: Sequence[tuple[Id, float]],
    fusion: Fusion = "adaptive",
    weight: float | None = None,
    max_score: tuple[float, int] = (0.0, 0),
) -> list[tuple[Id, float]]:
    """All that either found, best first, ties by id.

    ``dense`` and ``keyword`` are best first, with cosines and BM25 scores, of the same depth where there is as much to
    find. ``weight`` is the share of the dense score under ``weighted`` (None: one half). ``max_score`` is what
    ``KeywordIndex.max_score`` says of the query; ``adaptive`` reads it. Scores of one call can be compared with each
    other, not with another call's.
    """
    if fusion == "rrf":
        return _ordered(_ranks(dense, keyword))
    if fusion == "adaptive":
        weight = share(dense, keyword, max_score)
    elif fusion != "weighted":
        raise InputError(f"unknown fusion {fusion!r}", remedy="one of adaptive, rrf, weighted")
    weight = EVEN if weight is None else weight
    if not 0 <= weight <= 1:
        raise InputError(f"got weight {weight}, expected 0 (words alone) to 1 (vectors alone)", remedy="give 0.5")
    return _ordered(_sums(dense, keyword, weight))


def share(
    dense: Sequence[tuple[Id, float]], keyword: Sequence[tuple[Id, float]], max_score: tuple[float, int] = (0.0, 0)
) -> float:
    """The share of the dense score that suits a query, from 0 to 1.

    ``1 / (1 + exp(-z))`` with ``z = BASE + COVERED * c * ln(1 + terms) + STANDS_OUT * s``. c is the best keyword score
    over the largest one possible: a text that has nearly all of a long query, often, is what was quoted, and the words
    should decide. s is how much of the way from the last dense hit's cosine to 1 the first one goes: vectors that
    single something out are to be trusted more than those to which everything looks alike.
    """
    if not keyword or not dense:
        return 1.0 if dense else 0.0
    most, terms = max_score
    covered = min(1.0, keyword[0][1] / most) * math.log1p(terms) if most > 0 else 0.0
    first, last = dense[0][1], dense[-1][1]
    apart = (first - last) / max(1 - last, 1e-6)
    return 1 / (1 + math.exp(-(BASE + COVERED * covered + STANDS_OUT * apart)))


def _ranks(*lists: Sequence[tuple[Id, float]]) -> dict[Id, float]:
    fused: dict[Id, float] = {}
    for ranked in lists:
        for place, (id, _) in enumerate(ranked, 1):
            fused[id] = fused.get(id, 0.0) + 1 / (RANK + place)
    return fused


def _sums(dense: Sequence[tuple[Id, float]], keyword: Sequence[tuple[Id, float]], weight: float) -> dict[Id, float]:
    """BM25's zero is real: nothing matches. So it is divided by the best score. A cosine's is not: all texts of a
    collection are somewhat alike, so the last hit is 0 and the first 1."""
    top = keyword[0][1] if keyword else 1.0
    # A text that is not among the words' hits may be just below the last one, unless the hits are all there are.
    least = keyword[-1][1] / top if keyword and len(keyword) >= len(dense) else 0.0
    low = dense[-1][1] if dense else 0.0
    width = max(dense[0][1] - low, 1e-9) if dense else 1.0
    fused = {id: (1 - weight) * least + weight * (score - low) / width for id, score in dense}
    for id, score in keyword:
        fused[id] = fused.get(id, (1 - weight) * least) + (1 - weight) * (score / top - least)
    return fused


def _ordered(fused: dict[Id, float]) -> list[tuple[Id, float]]:
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))
