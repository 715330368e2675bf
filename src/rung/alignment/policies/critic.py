"""A value head: one linear row over what a state is known by, fitted to the returns that were seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Critic:
    """Predicts the return from a state. Least squares over all states seen so far, those of earlier batches counted
    less by ``decay`` a batch (the policy has changed since), with a ridge; over one-hot states this is their mean
    return. A batch is judged by what was learnt before it, so that its own luck is in no baseline. ``gram`` and
    ``cross`` are all that there is to keep."""

    def __init__(self, width: int, decay: float = 0.9, ridge: float = 1e-2) -> None:
        import torch

        self.decay, self.ridge = decay, ridge
        self.gram = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self.cross = torch.zeros(width + 1, dtype=torch.float64)

    def value(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (states, width) to (states,), float64; zeros before anything was learnt."""
        import torch

        mean = float(self.gram.diagonal()[:-1].mean())
        if mean == 0:
            return torch.zeros(len(features), dtype=torch.float64)
        # No ridge on the last row, the constant: the mean return is not shrunk.
        ridge = torch.full((len(self.gram),), self.ridge * mean, dtype=torch.float64)
        ridge[-1] = 1e-9
        weights = torch.linalg.solve(self.gram + torch.diag(ridge), self.cross)
        return self._wide(features) @ weights

    def learn(self, features: torch.Tensor, returns: torch.Tensor) -> None:
        wide = self._wide(features)
        self.gram.mul_(self.decay).add_(wide.t() @ wide)
        self.cross.mul_(self.decay).add_(wide.t() @ returns.double())

    @staticmethod
    def _wide(features: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.cat([features.double().cpu(), torch.ones(len(features), 1, dtype=torch.float64)], 1)
