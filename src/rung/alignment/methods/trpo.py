"""Trust region policy optimisation (Schulman et al. 2015, arXiv:1502.05477): the natural gradient by conjugate
gradient, and a line search that keeps the measured distance within its bound.

The curvature is that of the Fisher information, taken from the episodes' score vectors: F = S'S / actions + damping, S
of shape (episodes, parameters). A product with F is two thin products, so no second derivative is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rung.alignment.methods.method import Actions, AlignMethod, Array, Rollouts, others
from rung.core.errors import InputError

if TYPE_CHECKING:
    import torch

FRACTIONS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
"""What the line search tries of the step that the estimate allows: the estimate from few episodes errs to small
steps."""


@dataclass(frozen=True)
class Trpo(AlignMethod):
    """``bound`` is how far one step may take the policy: the mean over actions of KL(before || after), over the whole
    vocabulary. A step that no fraction of which stays within it and gains is not taken, and its row says so."""

    name: ClassVar[str] = "trpo"
    grouped: ClassVar[bool] = True

    bound: float = 0.01
    turns: int = 10
    damping: float = 0.1

    def validate(self, replies: int) -> None:
        super().validate(replies)
        if not (self.bound > 0 and self.turns >= 1 and self.damping > 0):
            raise InputError(
                f"trpo: got bound {self.bound}, turns {self.turns}, damping {self.damping}",
                remedy="expected bound and damping above 0, turns of at least 1",
            )

    def credit(self, rollouts: Rollouts) -> Array:
        totals = rollouts.totals(self.kl)
        return (totals - others(totals, rollouts.groups))[rollouts.owners]

    def loss(self, actions: Actions) -> torch.Tensor:
        """The surrogate of equation 14, negated: what the line search measures."""
        return -(actions.weight * actions.advantage * (actions.logp - actions.old).exp()).sum()

    def direction(self, scores: torch.Tensor, gradient: torch.Tensor, actions: int) -> torch.Tensor:
        """The whole step that the estimate allows: F^-1 g, as long as its predicted distance is the bound. ``scores``
        (episodes, parameters) are gradients of each episode's log-probability, ``gradient`` (parameters,) of the
        gain."""
        mean = float((scores * scores).sum()) / (actions * scores.shape[1])
        damped = self.damping * max(mean, 1e-12)

        def curve(vector: torch.Tensor) -> torch.Tensor:
            return scores.t() @ (scores @ vector) / actions + damped * vector

        step = solve(curve, gradient, self.turns)
        size = float(step @ curve(step))
        return step * math.sqrt(2 * self.bound / size) if size > 0 else step * 0


def solve(
    product: Callable[[torch.Tensor], torch.Tensor], right: torch.Tensor, turns: int, tolerance: float = 1e-10
) -> torch.Tensor:
    """x with A x = ``right`` for a positive definite A known by its ``product`` alone: conjugate gradient (Hestenes and
    Stiefel 1952), at most ``turns`` turns or until the residual is ``tolerance`` of the right side."""
    out = right.new_zeros(right.shape)
    rest = right.clone()
    way = rest.clone()
    size = first = float(rest @ rest)
    for _ in range(turns):
        if size <= tolerance * first or size == 0:
            break
        curved = product(way)
        stride = size / float(way @ curved)
        out += stride * way
        rest -= stride * curved
        fresh = float(rest @ rest)
        way = rest + fresh / size * way
        size = fresh
    return out


@dataclass(frozen=True, slots=True)
class Searched:
    """What a line search settled on: the ``fraction`` of the step (0: none), its measured distance and gain."""

    fraction: float
    kl: float
    gain: float


def search(measure: Callable[[float], tuple[float, float]], bound: float) -> Searched:
    """The first of FRACTIONS whose measured (distance, gain) is within the ``bound`` and above 0."""
    for fraction in FRACTIONS:
        distance, gain = measure(fraction)
        if math.isfinite(distance) and distance <= bound and gain > 0:
            return Searched(fraction, distance, gain)
    return Searched(0.0, 0.0, 0.0)
