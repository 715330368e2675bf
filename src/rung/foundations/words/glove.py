"""GloVe: vectors whose products are the logarithms of counts (Pennington 2014).

How often each word stands near each other word is counted once over the whole text, a pair at distance d counting 1 /
d. Then vectors and biases are fitted so that ``w_i . c_j + b_i + d_j = log X_ij``, pairs weighted by
``min(1, (X_ij / 100) ** 0.75)``, so that neither the rare nor the most frequent ones decide. A word's vector is the sum
of its two. AdaGrad gives every number its own rate.

Counts are a sparse matrix; a step takes a block of its rows: products only where there are counts, then two sparse
products for the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.foundations.words.vocabulary import TextVocabulary
from rung.foundations.words.word2vec import fresh

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.foundations.words import Floats

PAIRS = 150_000
"""Counted pairs of a step, about."""


@dataclass(frozen=True, slots=True)
class GlovePlan:
    """``ceiling`` is the count from which on all pairs weigh the same; pairs that count less than ``least`` are left
    out."""

    dimensions: int = 100
    window: int = 8
    epochs: int = 12
    rate: float = 0.2
    ceiling: float = 100.0
    least: float = 0.5
    seed: int = 0


def cooccurrences(vocabulary: TextVocabulary, window: int) -> Any:
    """Weighted counts as a symmetric sparse matrix of shape (words, words)."""
    from scipy.sparse import csr_matrix

    ids, n = vocabulary.ids, len(vocabulary.words)
    total = csr_matrix((n, n), dtype=np.float32)
    for distance in range(1, min(window, len(ids) - 1) + 1):
        weight = np.full(len(ids) - distance, 1 / distance, np.float32)
        total = total + csr_matrix((weight, (ids[:-distance], ids[distance:])), shape=(n, n))
    return (total + total.T).tocsr()


@dataclass(frozen=True)
class FittedGlove:
    """``vectors`` of shape (words, dimensions); ``fit`` is the share of the variance of the log counts that the
    products explain (R squared, weighted as they were fitted); ``losses`` of each epoch."""

    vectors: Floats
    fit: float
    losses: tuple[float, ...]


def factorize(counts: Any, plan: GlovePlan, tell: Callable[[float], None] = lambda share: None) -> FittedGlove:
    """Fit vectors to a matrix of counts. Raises InputError where nothing was counted."""
    counts = counts.copy()
    counts.data[counts.data < plan.least] = 0
    counts.eliminate_zeros()
    if not counts.nnz:
        raise InputError("no two words stand near each other", remedy="give a longer text", code="few-words")
    rng = np.random.default_rng(plan.seed)
    n = counts.shape[0]
    # The biases are two more columns: w_i has (its own, 1), c_j has (1, its own).
    sides = [fresh(n, plan.dimensions + 2, plan.seed + side) for side in range(2)]
    # They begin at what explains most: half of the mean log count of the row.
    logs = counts.copy()
    logs.data = np.log(logs.data)
    own = np.asarray(logs.sum(1)).ravel() / np.maximum(np.diff(counts.indptr), 1)
    sides[0][:, -2] = sides[1][:, -1] = own - logs.data.mean() / 2
    sides[0][:, -1] = sides[1][:, -2] = 1
    squares = [np.full_like(side, 1e-8) for side in sides]
    losses = []
    for epoch in range(plan.epochs):
        order, total, weighed = rng.permutation(n), 0.0, 0.0
        sizes = np.cumsum(np.diff(counts.indptr)[order])
        for rows in np.split(order, np.searchsorted(sizes, np.arange(PAIRS, sizes[-1], PAIRS))):
            part = counts[rows]
            error, weight = _errors(part, sides[0][rows], sides[1], plan)
            total, weighed = total + float(weight @ error**2), weighed + float(weight.sum())
            part.data = (weight * error).astype(np.float32)
            steps = (part @ sides[1], part.T.tocsr() @ sides[0][rows])
            _move(sides[0], squares[0], rows, steps[0], plan, fixed=-1)
            _move(sides[1], squares[1], slice(None), steps[1], plan, fixed=-2)
        losses.append(total / weighed)
        tell((epoch + 1) / plan.epochs)
    error, weight = _errors(counts, sides[0], sides[1], plan)
    spread = weight @ (logs.data - np.average(logs.data, weights=weight)) ** 2
    fit = float(1 - (weight @ error**2) / spread) if spread > 0 else 1.0
    return FittedGlove((sides[0] + sides[1])[:, :-2], fit, tuple(losses))


def _errors(part: Any, rows: Floats, columns: Floats, plan: GlovePlan) -> tuple[NDArray[Any], NDArray[Any]]:
    """Product minus log count, and weight, of each counted pair of some rows."""
    places = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
    products = np.empty(part.nnz, np.float32)
    for start in range(0, part.nnz, 1 << 15):  # a chunk of gathered vectors stays in the cache
        some = slice(start, start + (1 << 15))
        products[some] = np.einsum("ij,ij->i", rows[places[some]], columns[part.indices[some]])
    return products - np.log(part.data), np.minimum(1, (part.data / plan.ceiling) ** 0.75)


def _move(side: Floats, squares: Floats, rows: Any, step: Floats, plan: GlovePlan, *, fixed: int) -> None:
    """AdaGrad (Duchi 2011) on some rows; the column ``fixed`` stays 1."""
    step[:, fixed] = 0
    squares[rows] += step**2
    side[rows] -= plan.rate * step / np.sqrt(squares[rows])
