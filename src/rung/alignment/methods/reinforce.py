"""REINFORCE (Williams 1992): every action is pushed by the return that followed it, less a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rung.alignment.methods.method import Actions, AlignMethod, Array, Rollouts, others, to_go

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Reinforce(AlignMethod):
    """The baseline is the mean return of earlier batches, which does not depend on this batch's actions; in the first
    batch it is the mean of the other episodes. ``discount`` weighs rewards by how late they come. The distance to the
    reference is taken off the rewards, action by action."""

    name: ClassVar[str] = "reinforce"

    discount: float = 1.0

    def credit(self, rollouts: Rollouts) -> Array:
        returns = to_go(rollouts.rewards - self.kl * rollouts.kl, rollouts.lengths, self.discount)
        if rollouts.baseline is not None:
            return returns - rollouts.baseline
        alone = others(rollouts.totals(self.kl), np.zeros(len(rollouts.lengths), np.intp))
        return returns - alone[rollouts.owners]

    def loss(self, actions: Actions) -> torch.Tensor:
        return -(actions.weight * actions.advantage * actions.logp).sum()
