"""A bandit with several contexts, where everything is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import TablePolicy
from rung.alignment.runs.player import mix


@dataclass
class Bandit:
    """``worth`` and ``wished`` of shape (contexts, arms): what is paid, and what is really wished for."""

    policy: TablePolicy
    worth: np.ndarray
    replies: int = 8
    wished: np.ndarray | None = None
    items: int = 60
    seed: int = 0

    def pull(self, context: int, arm: int) -> Trajectory:
        return Trajectory(context, (context,), (arm,), (float(self.worth[context, arm]),), {}, str(context))

    def draw(self, context: int, seed: int) -> int:
        odds = torch.softmax(self.policy.logits[context], 0)
        return int(torch.multinomial(odds, 1, generator=torch.Generator().manual_seed(seed)))

    async def play(self, step: int) -> list[Trajectory]:
        return [
            self.pull(context, self.draw(context, mix(self.seed, step, context, reply)))
            for context in range(len(self.worth))
            for reply in range(self.replies)
        ]

    async def gold(self) -> list[float]:
        if self.wished is None:
            return []
        contexts = [item % len(self.worth) for item in range(self.items)]
        return [float(self.wished[c, self.draw(c, mix(self.seed, "gold", item))]) for item, c in enumerate(contexts)]


def exact(policy: TablePolicy, worth: np.ndarray) -> torch.Tensor:
    """The gradient of the mean expected reward over contexts: p (r - E r), shape (contexts, arms)."""
    odds = torch.softmax(policy.logits, 1)
    reward = torch.from_numpy(worth)
    return odds * (reward - (odds * reward).sum(1, keepdim=True)) / len(worth)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def plays(contexts: Sequence[int], arms: Sequence[int], bandit: Bandit) -> list[Trajectory]:
    return [bandit.pull(context, arm) for context, arm in zip(contexts, arms, strict=True)]
