"""Four bits that are worth having: blocks of a matrix rounded so that what is computed with them changes least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.tuning.batches import TokenRow, split

if TYPE_CHECKING:
    import torch

    from rung.tuning.compute.session import Session

Matrix = NDArray[np.float32]
Squares = Mapping[str, Matrix]
"""Of each matrix, by its weight's name, the mean square of every input that it is multiplied with: shape (columns,)."""
Rounder = Callable[[str, Matrix], NDArray[np.uint8]]
"""From a weight's name and values to its Q4_0 blocks."""

BLOCK = 32
"""Values that GGUF quantises together."""
CALIBRATION = 4096
"""Tokens of which inputs are squared: more changes the means little."""
FLOOR = 1e-3
"""An input counts at least this much of the matrix's mean: one that calibration never saw may still come."""


def plain(_: str, weight: Matrix) -> NDArray[np.uint8]:
    """Every input counts alike."""
    return pack(*four_bits(weight))


def weighted(squares: Squares) -> Rounder:
    """Inputs count by their mean square, so that it is the error of the products which is least (as llama.cpp's
    importance matrix); a matrix that was not measured is rounded plainly."""
    return lambda name, weight: pack(*four_bits(weight, squares.get(name)))


def kept(scales: Mapping[str, Matrix]) -> Rounder:
    """The nearest values on a grid that is there already, shape (rows, columns / 32): what was trained on it stays on
    it."""

    def nearest(name: str, weight: Matrix) -> NDArray[np.uint8]:
        if name not in scales:
            return plain(name, weight)
        scale = scales[name].repeat(BLOCK, 1)
        codes = np.divide(weight, scale, out=np.zeros_like(weight), where=scale != 0)
        return pack(np.clip(np.rint(codes), -8, 7).astype(np.int8), scales[name])

    return nearest


def four_bits(weight: Matrix, squares: Matrix | None = None) -> tuple[NDArray[np.int8], Matrix]:
    """Whole numbers q of -8 to 7, shape (rows, columns), and scales d in 16 bits, shape (rows, columns / 32), whose
    products are nearest to a matrix of columns divisible by 32.

    Of 19 ways to round a block the one is taken that loses least, with the scale of least squares (as llama.cpp's
    ``make_qx_quants``; the gguf package takes the scale from the largest value alone). With ``squares``, shape
    (columns,), an error counts by its input's mean square.
    """
    rows, columns = weight.shape
    across = columns // BLOCK
    blocks = np.ascontiguousarray(weight, np.float32).reshape(-1, BLOCK)
    worth = np.ones((1, BLOCK), np.float32)
    if squares is not None and (mean := float(squares.mean())) > 0:
        worth = (squares / mean + FLOOR).astype(np.float32).reshape(across, BLOCK)
    best = np.full(len(blocks), -1.0, np.float32)
    scale, chosen = np.zeros(len(blocks), np.float32), np.zeros(blocks.shape, np.int8)
    stretch = (1 << 14) // across * across or across
    for start in range(0, len(blocks), stretch):
        part = slice(start, start + stretch)
        x = blocks[part]
        w = worth if len(worth) == 1 else np.tile(worth, (len(x) // across, 1))
        largest = np.take_along_axis(x, np.abs(x).argmax(1, keepdims=True), 1)
        inverse = np.divide(-1.0, largest, out=np.zeros_like(largest), where=largest != 0)
        weighed = w * x
        for step in range(-9, 10):
            q = np.clip(np.rint(x * (inverse * np.float32(8 + 0.1 * step))), -8, 7)
            both, square = np.einsum("ij,ij->i", weighed, q), np.einsum("ij,ij,ij->i", w, q, q)
            d = np.divide(both, square, out=np.zeros_like(both), where=square > 0)
            better = both * d > best[part]
            best[part][better], scale[part][better] = (both * d)[better], d[better]
            chosen[part][better] = q[better].astype(np.int8)
    return chosen.reshape(rows, columns), scale.astype(np.float16).astype(np.float32).reshape(rows, across)


def pack(codes: NDArray[np.int8], scales: Matrix) -> NDArray[np.uint8]:
    """Q4_0 blocks of GGUF, 18 bytes for 32 values: shape (rows, columns / 32 * 18)."""
    nibbles = (codes + np.int8(8)).astype(np.uint8).reshape(-1, 2, BLOCK // 2)
    out = np.empty((len(nibbles), 2 + BLOCK // 2), np.uint8)
    out[:, :2] = scales.reshape(-1, 1).astype(np.float16).view(np.uint8)
    out[:, 2:] = nibbles[:, 0] | (nibbles[:, 1] << np.uint8(4))
    return out.reshape(len(codes), -1)


def opened(codes: NDArray[np.int8], scales: Matrix) -> Matrix:
    """The matrix that a reader of the file sees."""
    return codes * scales.repeat(BLOCK, 1)


def some(rows: Sequence[TokenRow], tokens: int = CALIBRATION) -> list[TokenRow]:
    """Rows of about so many tokens, evenly spread over all, at least one."""
    wanted = max(1, round(len(rows) * tokens / max(1, sum(map(len, rows)))))
    return list(rows) if wanted >= len(rows) else [rows[place * len(rows) // wanted] for place in range(wanted)]


def measure(session: Session, rows: Sequence[TokenRow], tokens: int = 1024) -> dict[str, Matrix]:
    """The mean square of what each matrix of the decoder is multiplied with while ``rows`` are read, as the session is
    now: what it has trained is in it. Costs a forward pass."""
    import torch

    from rung.tuning.compute.session import states

    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Callable[[Any, Any], None]:
        def see(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            x = given[0].detach().reshape(-1, given[0].shape[-1]).float()
            sums[name] = sums.get(name, 0) + x.square().sum(0, dtype=torch.float64)
            counts[name] = counts.get(name, 0) + len(x)

        return see

    whole = replace(session, frozen=0)  # frozen layers are computed too
    matrices = {name: part for name, part in session.causal.named_modules() if _is_matrix(name, part)}
    held = [part.register_forward_pre_hook(watch(f"{name}.weight")) for name, part in matrices.items()]
    session.model.eval()
    try:
        with torch.no_grad():
            for batch in split(session.front(rows), tokens):
                states(whole, batch)
    finally:
        for one in held:
            one.remove()
    return {name: (total / counts[name]).float().cpu().numpy() for name, total in sums.items()}


def _is_matrix(name: str, part: Any) -> bool:
    """A linear layer of the decoder: plain, or the one that an adapter lies over, which is called in its place."""
    import torch

    inner = getattr(part, "base_layer", part)
    outer = ".base_layer" in name or ".lora_" in name or name.endswith("lm_head")
    return isinstance(inner, torch.nn.Linear) and not outer
