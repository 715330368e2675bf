"""Proximal policy optimisation with a critic (Schulman et al. 2017, arXiv:1707.06347): actor and critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rung.alignment.methods.method import Actions, AlignMethod, Array, Rollouts, clipped, to_go
from rung.core.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ppo(AlignMethod):
    """Advantages are generalised (Schulman et al. 2016, arXiv:1506.02438): ``trace`` 1 takes whole returns less the
    critic's value, 0 one reward and the next value. The distance to the reference is taken off the rewards, action by
    action."""

    name: ClassVar[str] = "ppo"
    critic: ClassVar[bool] = True

    passes: int = 2
    clip: float = 0.2
    discount: float = 1.0
    trace: float = 0.95

    def validate(self, replies: int) -> None:
        super().validate(replies)
        if not (0 < self.discount <= 1 and 0 <= self.trace <= 1 and 0 < self.clip < 1):
            raise InputError(
                f"ppo: got discount {self.discount}, trace {self.trace}, clip {self.clip}",
                remedy="expected discount above 0 and at most 1, trace of 0 to 1, clip between 0 and 1",
            )

    def credit(self, rollouts: Rollouts) -> Array:
        ends = np.cumsum(rollouts.lengths) - 1
        following = np.append(rollouts.values[1:], 0.0)
        following[ends] = 0.0  # nothing comes after the last action
        rewards = rollouts.rewards - self.kl * rollouts.kl
        surprise = rewards + self.discount * following - rollouts.values
        return to_go(surprise, rollouts.lengths, self.discount * self.trace)

    def weigh(self, rollouts: Rollouts) -> Array:
        actions = int(rollouts.lengths.sum())
        return np.full(actions, 1.0 / actions)

    def loss(self, actions: Actions) -> torch.Tensor:
        return (actions.weight * clipped(actions, self.clip, self.clip)).sum()
