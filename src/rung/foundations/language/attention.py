"""Attention: each place asks a question, all places answer, and the answers are mixed by how well they fit (Vaswani
2017).

A query ``q`` is compared with every key ``k`` by their product; a softmax turns the products into weights that sum to
1, and what is handed on is the weighted mean of the values ``v``. The products are divided by the square root of their
width, so that the softmax is not sharper for wider heads. **Self**-attention asks within one sequence;
**cross**-attention asks another one; a **causal** mask hides what comes later. **Several heads** split the width: each
mixes by a weighting of its own at the same cost.
"""

from __future__ import annotations

from collections.abc import Callable

from rung.foundations.language import Tensor, Weights, tensors

Look = Callable[[str, Tensor], None]


def attend(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mixed values of shape (..., asking, width) and the weights (..., asking, answering), whose rows sum to 1.
    ``hidden`` is true where an answer may not be looked at."""
    torch = tensors()
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    weights = torch.softmax(scores, -1)
    return weights @ v, weights


def split(x: Tensor, heads: int) -> Tensor:
    """(batch, length, heads * width) as (batch, heads, length, width)."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).transpose(1, 2)


def join(x: Tensor) -> Tensor:
    """The other way round."""
    batch, heads, length, width = x.shape
    return x.transpose(1, 2).reshape(batch, length, heads * width)


def later(asking: int, answering: int) -> Tensor:
    """A causal mask of shape (asking, answering): the last ``asking`` of ``answering`` places ask; true is what comes
    later."""
    torch = tensors()
    return torch.ones(asking, answering, dtype=torch.bool).triu(answering - asking + 1)


def multi_head(
    x: Tensor, other: Tensor, weights: Weights, name: str, heads: int, hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of ``x`` (batch, asking, width) to ``other`` (batch, answering, width) in ``heads`` parts: the mixed
    values and the weights (batch, heads, asking, answering). ``weights`` has ``NAME.{q,k,v,o}``, each of shape (width,
    width)."""
    q, k, v = (
        split(source @ weights[f"{name}.{part}"].t(), heads) for part, source in (("q", x), ("k", other), ("v", other))
    )
    mixed, shares = attend(q, k, v, hidden)
    return join(mixed) @ weights[f"{name}.o"].t(), shares
