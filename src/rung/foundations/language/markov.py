"""A Markov model: the next byte depends on the last few, as often as it was counted.

A text of ``n`` bytes gives for each order 0 to k a table of contexts, of what followed them, and how often. A context
that was seen seldom says little, and one that was never seen says nothing, so each order leans on the one below it
(Witten & Bell 1991):

    P(c | h) = (count(h c) + kinds(h) * P(c | h')) / (count(h) + kinds(h))

where h' is h without its oldest byte and kinds(h) is how many different bytes followed h: a context that was followed
by many different ones expects another new one. Below order 0 every byte is equally probable, so no probability is 0,
and for each context the 256 of them sum to 1. Contexts are numbers (base 256) in sorted arrays: counting is one sort an
order, looking up is bisection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYMBOLS = 256
DEEPEST = 6
"""Bytes of context at most: with the byte that follows they are one 64-bit number."""


@dataclass(frozen=True)
class ContextCounts:
    """Contexts of one length: sorted numbers, how often each was seen and by how many kinds it was followed; and the
    same for contexts with what followed (context * 256 + byte)."""

    contexts: NDArray[np.int64]
    seen: NDArray[np.int64]
    kinds: NDArray[np.int64]
    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class MarkovModel:
    """``orders`` from 0 to the model's own."""

    orders: tuple[ContextCounts, ...]

    @classmethod
    def fit(cls, data: NDArray[np.uint8], order: int) -> MarkovModel:
        """Count a text of shape (n,). Raises InputError unless 0 <= ``order`` <= 6 and the text is longer than that."""
        if not 0 <= order <= DEEPEST:
            raise InputError(f"got order {order}, expected 0 to {DEEPEST}", remedy="write --order 3", code="order")
        if len(data) <= order:
            raise InputError(
                f"a text of {len(data)} bytes is too short for order {order}",
                remedy="give a longer text, or a smaller --order",
                code="short-text",
            )
        found = []
        for length in range(order + 1):
            pairs, counts = np.unique(_keys(data, length) * SYMBOLS + data[length:], return_counts=True)
            contexts, first, kinds = np.unique(pairs // SYMBOLS, return_index=True, return_counts=True)
            found.append(ContextCounts(contexts, np.add.reduceat(counts, first), kinds, pairs, counts))
        return cls(tuple(found))

    @property
    def parameters(self) -> int:
        """Counts that it holds."""
        return sum(len(order.pairs) for order in self.orders)

    def probabilities(self, context: NDArray[np.uint8], symbols: NDArray[np.uint8]) -> NDArray[np.float64]:
        """P(symbol | the bytes before it), of ``symbols`` of shape (n,) after ``context`` of shape (n, at least the
        order)."""
        p = np.full(len(symbols), 1 / SYMBOLS)
        for length, order in enumerate(self.orders):
            key = np.zeros(len(symbols), np.int64)
            for at in range(length):
                key = key * SYMBOLS + context[:, context.shape[1] - length + at]
            seen, kinds = (_look(order.contexts, values, key) for values in (order.seen, order.kinds))
            counted = _look(order.pairs, order.counts, key * SYMBOLS + symbols)
            known = seen > 0
            p = np.where(known, (counted + kinds * p) / np.where(known, seen + kinds, 1), p)
        return p

    def bits(self, data: NDArray[np.uint8]) -> NDArray[np.float64]:
        """-log2 P of each byte of a text from the one at the model's order on, shape (n - order,)."""
        order = len(self.orders) - 1
        windows = np.lib.stride_tricks.sliding_window_view(data, order + 1)
        return -np.log2(self.probabilities(windows[:, :order], windows[:, order]))

    def next(self, context: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The distribution over 256 bytes after ``context`` of shape (n,); with fewer bytes than the order, a lower
        order's."""
        order = min(len(self.orders) - 1, len(context))
        lower = MarkovModel(self.orders[: order + 1])
        last = np.broadcast_to(context[len(context) - order :], (SYMBOLS, order))
        return lower.probabilities(last, np.arange(SYMBOLS, dtype=np.uint8))


def _keys(data: NDArray[np.uint8], length: int) -> NDArray[np.int64]:
    """The ``length`` bytes before each byte from the one at ``length`` on, as numbers."""
    keys = np.zeros(len(data) - length, np.int64)
    for at in range(length):
        keys = keys * SYMBOLS + data[at : len(data) - length + at]
    return keys


def _look(keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values at the keys that are there, 0 at the others."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
