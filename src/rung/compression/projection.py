"""Training under a constraint: after each step the merged weights are put back onto a grid of few bits, or under a
mask.

The forward pass computes with what will be in the file; the gradient goes through as if nothing had been rounded (the
straight-through estimator; Bengio et al. 2013, arXiv:1308.3432). Nothing but the frozen matrix under each adapter is
changed: it is set to P(W + s B A) - s B A, so that the layer computes with P(W + s B A) exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rung.tuning.compute.rounding import BLOCK, Matrix
from rung.tuning.compute.session import Session

Projection = Callable[[str, Tensor], Tensor]
"""From a weight's name and its values (float32) to the nearest allowed ones."""


def on_grid(scales: Mapping[str, Matrix]) -> Projection:
    """Whole numbers of -8 to 7 times scales of shape (rows, columns / 32), which stay as they are."""
    known = {name: torch.from_numpy(scale) for name, scale in scales.items()}

    def project(name: str, weight: Tensor) -> Tensor:
        if name not in known:
            return weight
        scale = known[name][..., None]
        blocks = weight.view(*known[name].shape, BLOCK)
        rounded = (blocks / torch.where(scale == 0, 1.0, scale)).round_().clamp_(-8, 7).mul_(scale)
        return rounded.view(weight.shape)

    return project


def masked(masks: Mapping[str, Tensor]) -> Projection:
    """Zero where the mask is false."""
    return lambda name, weight: weight * masks[name] if name in masks else weight


def constrain(session: Session, project: Projection) -> None:
    """Have a LoRA session compute with projected weights from now on, in training and after."""
    layers = {
        f"{name}.weight": module
        for name, module in session.causal.named_modules()
        if hasattr(module, "lora_A") and "default" in module.lora_A
    }
    own = {name: module.base_layer.weight.detach().float().clone() for name, module in layers.items()}

    def pushed() -> None:
        with torch.no_grad():
            for name, module in layers.items():
                low, high = module.lora_A["default"].weight, module.lora_B["default"].weight
                change = module.scaling["default"] * (high.float() @ low.float())
                module.base_layer.weight.data.copy_(project(name, own[name] + change) - change)

    session.pushed = pushed
    session.push()
