"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300), with the two corrections of Liu et al. 2025
(arXiv:2503.20783, "Dr. GRPO") as the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rung.alignment.methods.method import Actions, AlignMethod, Array, Rollouts, clipped, k3
from rung.core.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Grpo(AlignMethod):
    """An answer's advantage is its return less its group's mean; with ``scale: std`` also over the group's standard
    deviation, which makes much of prompts whose answers hardly differ. ``length: token`` counts every action alike;
    ``sequence`` every answer, which makes long wrong answers cheap. ``clip`` and ``clip_high`` bound how far one batch
    moves an action's probability (the second apart, as in DAPO, arXiv:2503.14476); the distance to the reference stands
    in the loss."""

    name: ClassVar[str] = "grpo"
    grouped: ClassVar[bool] = True

    kl: float = 0.02
    passes: int = 2
    clip: float = 0.2
    clip_high: float = 0.28
    scale: str = "none"
    length: str = "token"

    def validate(self, replies: int) -> None:
        super().validate(replies)
        if self.scale not in ("none", "std") or self.length not in ("token", "sequence"):
            raise InputError(
                f"grpo: got scale {self.scale!r} and length {self.length!r}",
                remedy="expected scale: none or std, length: token or sequence",
            )

    def credit(self, rollouts: Rollouts) -> Array:
        totals, groups = rollouts.totals(), rollouts.groups
        counts = np.bincount(groups)
        mean = np.bincount(groups, totals) / np.maximum(counts, 1)
        apart = totals - mean[groups]
        if self.scale == "std":
            spread = np.sqrt(np.bincount(groups, apart**2) / np.maximum(counts - 1, 1))
            apart = apart / (spread[groups] + 1e-4)
        return apart[rollouts.owners]

    def weigh(self, rollouts: Rollouts) -> Array:
        if self.length == "token":
            actions = int(rollouts.lengths.sum())
            return np.full(actions, 1.0 / actions)
        return np.repeat(1.0 / (len(rollouts.lengths) * rollouts.lengths), rollouts.lengths)

    def loss(self, actions: Actions) -> torch.Tensor:
        loss = clipped(actions, self.clip, self.clip_high)
        if self.kl:
            loss = loss + self.kl * k3(actions.logp, actions.reference)
        return (actions.weight * loss).sum()
