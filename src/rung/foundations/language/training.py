"""How the models of this room are trained: windows of a text in batches, AdamW, a short warm-up and a cosine down to
nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import FitError
from rung.foundations.language import Tensor, Weights, tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """``rate`` is reached after a twentieth of the steps; gradients are cut at norm 1."""

    steps: int = 400
    rate: float = 2e-3
    decay: float = 0.01
    seed: int = 0


def windows(data: NDArray[np.uint8], count: int, batch: int, length: int, seed: int) -> Iterator[Tensor]:
    """``count`` batches of windows drawn from a text, each of shape (batch, length + 1), as whole numbers."""
    torch, rng = tensors(), np.random.default_rng(seed)
    length = min(length, len(data) - 1)
    for _ in range(count):
        starts = rng.integers(0, len(data) - length, batch)
        yield torch.from_numpy(data[starts[:, None] + np.arange(length + 1)].astype(np.int64))


def fit(
    weights: Weights,
    loss: Callable[[Any], Tensor],
    batches: Iterator[Any],
    plan: TrainingPlan,
    tell: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Train ``weights`` in place to lessen ``loss`` of each batch; the losses. Raises FitError when the loss is no
    number."""
    with one_thread():
        return _fit(weights, loss, batches, plan, tell)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread computes: the products are small, and threads that share busy cores wait for each other (measured: ten
    times the CPU on two cores with other work)."""
    torch = tensors()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit(
    weights: Weights,
    loss: Callable[[Any], Tensor],
    batches: Iterator[Any],
    plan: TrainingPlan,
    tell: Callable[[int, float], None],
) -> list[float]:
    torch = tensors()
    trained = [value.requires_grad_(True) for value in weights.values()]
    optimizer = torch.optim.AdamW(trained, lr=plan.rate, weight_decay=plan.decay, betas=(0.9, 0.98))
    warm = max(1, plan.steps // 20)
    curve: list[float] = []
    for step, batch in enumerate(batches):
        share = (step - warm) / max(1, plan.steps - warm)
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * ((step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * share)))
        value = loss(batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        curve.append(float(value.detach()))
        if not math.isfinite(curve[-1]):
            raise FitError(f"the loss is {curve[-1]} at step {step}", remedy="use a smaller rate", code="diverged")
        tell(step, curve[-1])
    for value in trained:
        value.requires_grad_(False)
    return curve


def cross_entropy(logits: Tensor, wanted: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean -ln P of ``wanted`` of shape (...) under logits of shape (..., symbols), where ``counted`` is true."""
    torch = tensors()
    each = torch.logsumexp(logits, -1) - logits.gather(-1, wanted[..., None])[..., 0]
    return each.mean() if counted is None else (each * counted).sum() / counted.sum().clamp(min=1)


def normal(shapes: dict[str, Sequence[int]], seed: int, scale: float | None = None) -> Weights:
    """Fresh weights: normal with standard deviation ``scale``, or 1 / sqrt(inputs); names that end in ``bias`` are 0,
    in ``norm.weight`` 1."""
    torch = tensors()
    source = torch.Generator().manual_seed(seed)
    made: Weights = {}
    for name, shape in shapes.items():
        if name.endswith("bias"):
            made[name] = torch.zeros(*shape)
        elif name.endswith("norm.weight"):
            made[name] = torch.ones(*shape)
        else:
            made[name] = torch.randn(*shape, generator=source) * (scale or shape[-1] ** -0.5)
    return made


def size(weights: Weights) -> int:
    """Numbers in the weights."""
    return sum(int(value.numel()) for value in weights.values())
