"""Activations in few bits: what a processor that multiplies whole numbers would compute, simulated.

The embedded engine computes activations in floating point, so this says what such an engine would cost in quality; it
makes nothing faster here. Naive: each matrix's input is scaled by the largest value it happens to have. Calibrated: the
scale is fixed beforehand, to the one that loses least on the calibration rows, and inputs that are much larger than the
rest are moved into the weights (SmoothQuant, arXiv:2211.10438), in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rung.core.errors import InputError
from rung.core.text.columns import align
from rung.tuning.batches import Chat, TokenRow, split
from rung.tuning.compute.precision import settle
from rung.tuning.compute.rounding import BLOCK, Matrix, four_bits, measure, opened, some
from rung.tuning.compute.session import Session, losses, open_session, states
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.work import Lessons, encode_lessons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rung.tuning.weights import Base

SHARES = tuple(0.3 + 0.05 * step for step in range(15))
"""Parts of the largest value that are tried as the end of the scale."""
KEPT = 4096
"""Values of each matrix's inputs by which the scale is chosen."""


def quantize(x: Tensor, bits: int, scale: Tensor | float | None = None) -> Tensor:
    """The nearest of 2**bits - 1 evenly spaced values around zero. ``scale``: the largest of them; None: that of
    ``x``."""
    most = 2 ** (bits - 1) - 1
    end = x.abs().amax().clamp_min(1e-12) if scale is None else scale
    return (x * (most / end)).round_().clamp_(-most, most).mul_(end / most)


@contextmanager
def coarse(session: Session, bits: int, rows: Sequence[TokenRow] | None = None) -> Iterator[None]:
    """While open, the inputs of every matrix of the decoder have few bits: naively, or as calibrated on ``rows``."""
    matrices = _matrices(session)
    found = {} if rows is None else _calibrate(session, matrices, rows, bits)

    def hook(name: str) -> Any:
        def see(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
            x, *rest = given
            if name not in found:
                return quantize(x.float(), bits).to(x.dtype), *rest
            smooth, end = found[name]
            return (quantize(x.float() / smooth, bits, end) * smooth).to(x.dtype), *rest

        return see

    held = [module.register_forward_pre_hook(hook(name)) for name, module in matrices.items()]
    try:
        yield
    finally:
        for one in held:
            one.remove()


def _matrices(session: Session) -> dict[str, Any]:
    return {
        n: m for n, m in session.causal.named_modules() if isinstance(getattr(m, "base_layer", None), torch.nn.Linear)
    }


def _calibrate(
    session: Session, matrices: dict[str, Any], rows: Sequence[TokenRow], bits: int
) -> dict[str, tuple[Tensor, float]]:
    """Of each matrix what its inputs are divided by (and its columns multiplied), and the end of the scale."""
    largest: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def see(_: Any, given: tuple[Any, ...]) -> None:
            x = given[0].detach().reshape(-1, given[0].shape[-1]).float()
            most = x.abs().amax(0)
            largest[name] = torch.maximum(largest[name], most) if name in largest else most
            if name not in seen:
                seen[name] = x[:: max(1, len(x) // 64)]

        return see

    held = [module.register_forward_pre_hook(watch(name)) for name, module in matrices.items()]
    with torch.no_grad():
        for batch in split(session.front(some(rows)), 1024):
            states(session, batch)
    for one in held:
        one.remove()
    out = {}
    for name, module in matrices.items():
        weight = module.base_layer.weight.detach().float().abs().amax(0).clamp_min(1e-8)
        smooth = (largest[name].clamp_min(1e-8) / weight).sqrt()  # the paper's strength of one half
        smooth = smooth / smooth.mean()
        x = seen[name] / smooth
        top = float((largest[name] / smooth).max())
        ends = [top * share for share in SHARES]
        lost = [float(((quantize(x, bits, end) - x) * smooth).square().sum()) for end in ends]
        out[name] = smooth, ends[min(range(len(ends)), key=lost.__getitem__)]
    return out


def losses_of(session: Session, rows: Sequence[TokenRow]) -> NDArray[Any]:
    """Mean loss of each row's trained tokens: shape (rows,)."""
    import numpy as np

    session.model.eval()
    with torch.no_grad():
        return np.array([float(losses(session, split([row], 1 << 30)[0]).mean()) for row in session.front(rows)])


def compare(base: Base, lessons: Lessons, bits: int) -> str:
    """A table: loss of held-out rows with activations of ``bits`` bits, naive and calibrated on the training rows, over
    weights of 16, 8 and 4 bits; each beside floating point throughout, pair by pair. Raises InputError when nothing is
    held out, or for 1 bit."""
    from rung.metrics.stats import permutation, student

    if bits < 2 or not (lessons.dev or lessons.dev_texts):
        raise InputError(
            f"activations of {bits} bits, or no held-out rows", remedy="give 2 to 8 bits and a task with a dev split"
        )
    chat = Chat(base)
    rows, dev, _ = encode_lessons(chat, lessons)
    session = open_session(base, settle(Recipe(rank=1)))
    first = losses_of(session, dev)
    squares = measure(session, some(rows))
    originals = {n: m.base_layer.weight.detach().clone() for n, m in _matrices(session).items()}
    lines = [
        ["weights", "activations", "loss", "to floating point", "p"],
        ["as they are", "floating point", f"{first.mean():.4f}", "", ""],
    ]
    for weights in ("as they are", "int8", "int4-plain", "int4"):
        for name, module in _matrices(session).items():
            module.base_layer.weight.data.copy_(_rounded(originals[name], weights, squares[f"{name}.weight"]))
        for kind in ("floating point", f"int{bits} naive", f"int{bits} calibrated"):
            if (weights, kind) == ("as they are", "floating point"):
                continue
            with (
                nullcontext()
                if kind == "floating point"
                else coarse(session, bits, rows if "calibrated" in kind else None)
            ):
                found = losses_of(session, dev)
            gap = found - first
            half = student(0.975, len(gap) - 1) * float(gap.std(ddof=1)) / len(gap) ** 0.5
            span = f"{gap.mean():+.4f} [{gap.mean() - half:+.4f}, {gap.mean() + half:+.4f}]"
            lines.append([weights, kind, f"{found.mean():.4f}", span, f"{permutation(list(gap)):.3f}"])
    return f"\nActivations, simulated ({len(dev)} held-out rows, calibrated on training rows)\n{align(lines)}"


def _rounded(weight: Tensor, kind: str, squares: Matrix) -> Tensor:
    """A matrix as a file of that kind would have it."""
    if kind == "as they are" or weight.shape[1] % BLOCK:
        return weight
    values = weight.float()
    if kind == "int8":
        blocks = values.view(-1, BLOCK)
        scale = blocks.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        return ((blocks / scale).round_() * scale).view(weight.shape)
    return torch.from_numpy(opened(*four_bits(values.numpy(), None if kind == "int4-plain" else squares)))
