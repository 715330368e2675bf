"""What a policy is to a method: actions that were taken, how probable they are now, and a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rung.alignment.methods.method import Array, Rollouts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What was done once, from a beginning to an end. ``context``: a language model's prompt as token ids; for a table,
    the state in which each action was taken. ``rewards`` came after each action; ``parts`` say what their sum is made
    of. ``group`` numbers the beginning (a prompt, a scenario), ``example`` names it. ``sampled``: the sampler's own
    log-probabilities, where it gave any. ``cut``: it ended at a limit, not by itself."""

    group: int
    context: tuple[int, ...]
    actions: tuple[int, ...]
    rewards: tuple[float, ...]
    parts: Mapping[str, float] = field(default_factory=dict)
    example: str = ""
    text: str = ""
    sampled: tuple[float, ...] = ()
    cut: bool = False

    @property
    def total(self) -> float:
        return float(sum(self.rewards))


Batch = Sequence[Trajectory]


class LearnablePolicy(Protocol):
    """Something with parameters that takes actions. What is trained lies in one ``vector`` (float32, or float64 for a
    table) and its gradient in ``grad``. Flat arrays are over all actions of a batch, trajectory after trajectory.
    ``states`` are what the actions were chosen from (hidden states, or logits): given back to ``judge`` and ``apart``,
    nothing is computed twice."""

    @property
    def vector(self) -> torch.Tensor: ...
    @property
    def grad(self) -> torch.Tensor: ...
    @property
    def width(self) -> int:
        """Of ``features``."""
        ...

    def set(self, vector: torch.Tensor) -> None: ...
    def states(self, batch: Batch) -> torch.Tensor:
        """Shape (actions, width), without gradient."""
        ...

    def judge(self, states: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each action, and the entropy of what it was chosen from, in nats: both of shape
        (actions,)."""
        ...

    def apart(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """KL(one || other) over all possible actions, in nats: shape (actions,)."""
        ...

    def features(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What a critic judges a state by: shape (actions, width)."""
        ...

    def push(self, batch: Batch, coefficients: torch.Tensor) -> None:
        """Add to ``grad`` the sum over actions of coefficient times the gradient of the action's log-probability."""
        ...

    def scores(self, batch: Batch) -> torch.Tensor:
        """The gradient of each trajectory's log-probability: shape (trajectories, parameters). ``grad`` is left at
        zero."""
        ...


def rollouts(batch: Batch, kl: Array, values: Array, baseline: float | None) -> Rollouts:
    """A batch as the arrays that credit is computed from."""
    return Rollouts(
        np.array([reward for one in batch for reward in one.rewards], np.float64),
        np.array([len(one.actions) for one in batch], np.intp),
        np.unique([one.group for one in batch], return_inverse=True)[1].astype(np.intp),
        kl,
        values,
        baseline,
    )
