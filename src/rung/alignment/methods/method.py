"""What a method is: how it credits actions with what came of them, and the loss whose gradient it follows.

Nothing here knows what an action is: a token of a language model or a move on a grid. All arrays are flat over the
actions of a batch of episodes, which lie one after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What credit is computed from. ``rewards``, ``kl`` (log-probability of the action under the policy that took it,
    less that under the reference) and ``values`` (the critic's, zeros without one) have shape (actions,); ``lengths``
    and ``groups`` (which episodes answer the same prompt) shape (episodes,). ``baseline`` is the mean return of earlier
    batches (None: there was none).
    """

    rewards: Array
    lengths: NDArray[np.intp]
    groups: NDArray[np.intp]
    kl: Array
    values: Array
    baseline: float | None = None

    @property
    def owners(self) -> NDArray[np.intp]:
        """The episode of each action."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def totals(self, penalty: float = 0.0) -> Array:
        """The return of each episode, less ``penalty`` times its summed log-ratio to the reference: shape
        (episodes,)."""
        return np.bincount(self.owners, self.rewards - penalty * self.kl, len(self.lengths)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Actions:
    """Some of a batch's actions as tensors of shape (actions,). ``logp`` carries the gradient; ``old`` is of the policy
    that took them, ``reference`` of the one to stay near. The loss of a batch is the sum over its actions, each counted
    by ``weight``."""

    logp: torch.Tensor
    old: torch.Tensor
    reference: torch.Tensor
    advantage: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class AlignMethod(ABC):
    """``kl`` is what the distance to the reference costs; ``passes`` how many optimizer steps are taken on one batch of
    episodes."""

    name: ClassVar[str]
    critic: ClassVar[bool] = False
    """It wants values of states."""
    grouped: ClassVar[bool] = False
    """It compares answers to one prompt, so it needs two or more of each."""

    kl: float = 0.0
    passes: int = 1

    @abstractmethod
    def credit(self, rollouts: Rollouts) -> Array:
        """The advantage of each action, shape (actions,)."""

    @abstractmethod
    def loss(self, actions: Actions) -> torch.Tensor:
        """A scalar whose gradient is followed downhill."""

    def weigh(self, rollouts: Rollouts) -> Array:
        """How much each action counts: here a mean over episodes of sums over their actions, as in the policy gradient
        theorem."""
        return np.full(int(rollouts.lengths.sum()), 1.0 / len(rollouts.lengths))

    def validate(self, replies: int) -> None:
        """Raises InputError for options that cannot learn. ``replies``: answers to each prompt."""
        if self.kl < 0 or self.passes < 1:
            raise InputError(
                f"{self.name}: got kl {self.kl} and passes {self.passes}",
                remedy="expected kl of at least 0, passes of at least 1",
            )
        if self.grouped and replies < 2:
            raise InputError(
                f"{self.name} compares answers to the same prompt with one another, and there is {replies} of each",
                remedy="set replies: 4 or more",
            )


def to_go(values: Array, lengths: NDArray[np.intp], discount: float = 1.0) -> Array:
    """For each action the (discounted) sum of ``values`` from it to the end of its episode: shape (actions,)."""
    out, at = np.empty_like(values), 0
    for length in lengths:
        total = 0.0
        for place in range(at + length - 1, at - 1, -1):
            total = values[place] + discount * total
            out[place] = total
        at += length
    return out


def others(totals: Array, groups: NDArray[np.intp]) -> Array:
    """For each episode the mean return of the other episodes of its group: shape (episodes,)."""
    sums, counts = np.bincount(groups, totals), np.bincount(groups)
    return (sums[groups] - totals) / np.maximum(counts[groups] - 1, 1)


def k3(logp: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The estimate of KL(policy || reference) that is never negative and, where actions are the policy's own, unbiased
    (Schulman 2020, "Approximating KL divergence"): exp(d) - d - 1 with d = reference - logp."""
    apart = reference - logp
    return apart.exp() - apart - 1


def clipped(actions: Actions, low: float, high: float) -> torch.Tensor:
    """The clipped surrogate of Schulman et al. 2017 (arXiv:1707.06347), equation 7, negated: shape (actions,)."""
    import torch

    ratio = (actions.logp - actions.old).exp()
    return -torch.minimum(ratio * actions.advantage, ratio.clamp(1 - low, 1 + high) * actions.advantage)
