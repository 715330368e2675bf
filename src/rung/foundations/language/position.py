"""Where a symbol stands: attention sees a set, so order must be told to it. Four ways, one of them not at all.

**Sinusoidal** (Vaswani 2017): waves of falling frequency are added to each symbol's vector. **Learned**: a vector for
each place is added, and trained; beyond the last place there is none. **Rotary** (Su 2021): nothing is added, but
queries and keys are turned by an angle that grows with their place, so that their product depends on the distance
alone. **None**: a layer without a mask then cannot tell ``ab`` from ``ba``; with a causal mask a stack of layers can
find out a little, from how many it sees.
"""

from __future__ import annotations

from rung.foundations.language import Tensor, tensors

KINDS = ("none", "learned", "sinusoidal", "rotary")


def sinusoidal(places: Tensor, width: int) -> Tensor:
    """Vectors of shape (len(places), width): sines in the even columns, cosines in the odd ones."""
    torch = tensors()
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = places[:, None].float() * frequency
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(len(places), width)


def rotary(x: Tensor, places: Tensor, base: float = 10_000.0) -> Tensor:
    """``x`` of shape (..., length, width) turned: of each pair of columns (i, i + width / 2) by place * base ** (-2 i /
    width)."""
    torch = tensors()
    half = x.shape[-1] // 2
    frequency = base ** (-torch.arange(0, half, dtype=torch.float32) / half)
    angle = places[:, None].float() * frequency
    cos, sin = angle.cos(), angle.sin()
    one, two = x[..., :half], x[..., half:]
    return torch.cat([one * cos - two * sin, two * cos + one * sin], -1)
