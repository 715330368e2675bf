"""The optimizer of everything that is trained here: AdamW over one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def adamw(
    vector: torch.Tensor,
    grad: torch.Tensor,
    rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: float = 0.0,
    fused: bool = True,
) -> tuple[torch.optim.AdamW, dict[str, torch.Tensor]]:
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101) that steps ``vector`` by the gradient that lies in ``grad`` (the
    same shape), and the tensors that it keeps between steps: made at once, so that a checkpoint can hold them, and be
    read into them."""
    import torch

    parameter = torch.nn.Parameter(vector)
    parameter.grad = grad
    optimizer = torch.optim.AdamW([parameter], lr=rate, betas=betas, weight_decay=decay, fused=fused)
    optimizer.state[parameter] = {
        "step": torch.zeros((), dtype=torch.float32, device=vector.device),
        "exp_avg": torch.zeros_like(vector),
        "exp_avg_sq": torch.zeros_like(vector),
    }
    return optimizer, optimizer.state[parameter]
