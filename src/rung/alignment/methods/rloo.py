"""REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740): the baseline of an answer is the
mean return of the other answers to its prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rung.alignment.methods.method import Actions, AlignMethod, Array, Rollouts, others

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rloo(AlignMethod):
    """Unbiased, as the other answers do not depend on this one. The distance to the reference is taken off the
    return."""

    name: ClassVar[str] = "rloo"
    grouped: ClassVar[bool] = True

    def credit(self, rollouts: Rollouts) -> Array:
        totals = rollouts.totals(self.kl)
        return (totals - others(totals, rollouts.groups))[rollouts.owners]

    def loss(self, actions: Actions) -> torch.Tensor:
        return -(actions.weight * actions.advantage * actions.logp).sum()
