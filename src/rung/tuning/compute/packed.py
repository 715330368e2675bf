"""Frozen matrices in 4 or 8 bits: what QLoRA keeps its base in. Blocks of 64 values share a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 64
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Levels of NormalFloat4: quantiles of a normal distribution scaled to [-1, 1], zero exact (Dettmers et al. 2023,
arXiv:2305.14314, appendix E)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix of ``shape`` in ``bits``: two 4-bit codes a byte (or one int8), and a float32 scale a block."""

    codes: Tensor
    scales: Tensor
    shape: tuple[int, int]
    bits: int

    @classmethod
    def of(cls, weight: Tensor, bits: int) -> Packed:
        """Quantise. The number of values must divide into blocks of 64, else ValueError."""
        if weight.numel() % BLOCK:
            raise ValueError(f"a matrix of shape {tuple(weight.shape)} does not divide into blocks of {BLOCK}")
        blocks = weight.detach().float().reshape(-1, BLOCK)
        scales = blocks.abs().amax(1, keepdim=True).clamp_min_(1e-12)
        rows, columns = weight.shape
        if bits == 8:
            codes = (blocks / scales * 127).round_().to(torch.int8).reshape(-1)
            return cls(codes, (scales / 127).reshape(-1), (rows, columns), bits)
        levels = torch.tensor(NF4, device=weight.device)
        nearest = torch.bucketize(blocks / scales, (levels[1:] + levels[:-1]) / 2).to(torch.uint8).reshape(-1, 2)
        return cls(nearest[:, 0] << 4 | nearest[:, 1], scales.reshape(-1), (rows, columns), bits)

    def open(self, dtype: Any) -> Tensor:
        """The matrix again, in ``dtype``."""
        if self.bits == 8:
            values = self.codes.to(dtype)
        else:
            table = _pairs(dtype, self.codes.device)
            values = torch.nn.functional.embedding(self.codes.int(), table)
        return (values.view(-1, BLOCK) * self.scales.to(dtype)[:, None]).view(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(self.codes.nbytes + self.scales.nbytes)


_TABLES: dict[tuple[Any, Any], Tensor] = {}


def _pairs(dtype: Any, device: Any) -> Tensor:
    """Byte -> its two levels: shape (256, 2)."""
    key = (dtype, device)
    if key not in _TABLES:
        levels = torch.tensor(NF4, dtype=dtype, device=device)
        byte = torch.arange(256, device=device)
        _TABLES[key] = torch.stack([levels[byte >> 4], levels[byte & 15]], 1)
    return _TABLES[key]
