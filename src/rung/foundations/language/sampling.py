"""From logits to text: what a decoder does with the distribution over the next symbol.

**Greedy** takes the most probable symbol each time. **Beam search** keeps the few beginnings that are most probable as
a whole, so a first symbol that pays later is not lost; it finds at least as probable a text as greedy almost always,
not always, because the greedy beginning may fall out of the beam. **Temperature** divides the logits: below 1 sharper,
above 1 flatter. **Top-k** draws from the k most probable symbols only; **top-p** (nucleus, Holtzman 2020) from the
fewest whose probabilities reach p: many where the model is unsure, few where it is not. Written plainly here, so that
faster ones can be held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Ids = NDArray[np.int64]


class Continuation(Protocol):
    """A language model that goes on from what it has read."""

    def begin(self, prompts: Ids) -> Numbers:
        """Log-probabilities of what follows each prompt of shape (batch, length): shape (batch, symbols)."""
        ...

    def extend(self, rows: Ids, symbols: Ids) -> Numbers:
        """The same after row ``rows[i]`` of what was there has got ``symbols[i]``; the rows are then these."""
        ...


def greedy(model: Continuation, prompts: Ids, count: int) -> tuple[Ids, Numbers]:
    """The ``count`` symbols after each prompt, shape (batch, count), and their summed log-probability, shape
    (batch,)."""
    rows = np.arange(len(prompts))
    after, total, out = model.begin(prompts), np.zeros(len(prompts)), []
    for at in range(count):
        out.append(after.argmax(1))
        total += after[rows, out[-1]]
        if at + 1 < count:
            after = model.extend(rows, out[-1])
    return np.stack(out, 1), total


def beam(model: Continuation, prompts: Ids, count: int, width: int) -> tuple[Ids, Numbers]:
    """As ``greedy``, of the most probable of ``width`` beginnings that were kept at each step. Texts are of one
    length."""
    n, after = len(prompts), model.begin(prompts)
    total, out = np.zeros((n, 1)), np.zeros((n, 1, 0), np.int64)
    for at in range(count):
        whole = (total.reshape(-1, 1) + after).reshape(n, -1)
        kept = min(width, whole.shape[1])
        best = np.argpartition(-whole, kept - 1, 1)[:, :kept]
        parents, symbols = np.divmod(best, after.shape[1])
        rows = (np.arange(n)[:, None] * total.shape[1] + parents).ravel()
        total = np.take_along_axis(whole, best, 1)
        out = np.concatenate([np.take_along_axis(out, parents[:, :, None], 1), symbols[:, :, None]], 2)
        if at + 1 < count:
            after = model.extend(rows, symbols.ravel())
    first = total.argmax(1)
    return out[np.arange(n), first], total[np.arange(n), first]


def distribution(logits: Numbers, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Numbers:
    """What is drawn from, shape (symbols,): top-k, then temperature, then top-p; 0 and 1 cut nothing. The order of
    equal logits is that of the symbols."""
    order = np.argsort(-logits, kind="stable")
    if top_k:
        order = order[:top_k]
    p = np.exp((logits[order] - logits[order[0]]) / temperature)
    p /= p.sum()
    if top_p < 1:
        keep = int(np.searchsorted(np.cumsum(p), top_p)) + 1
        order, p = order[:keep], p[:keep] / p[:keep].sum()
    out = np.zeros(len(logits))
    out[order] = p
    return out
