"""The precision that a training computes in: what this processor does well, by its features and a probe."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from rung.core.system.machine import machine
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import load_torch

if TYPE_CHECKING:
    import torch

Computed = Literal["bf16", "fp32"]
WORTH = 1.3
"""bfloat16 is taken when its products are at least this many times as fast: below, the conversions around them cost
what it saves."""
SHAPE = (512, 576, 1536)
"""Tokens of a micro-batch, width and inner width of the built-in model: the product that training spends its time
on."""


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """``precision`` is what is computed in, ``factor`` how many times as fast as float32 products bfloat16's are here,
    ``why`` one sentence, and ``warning`` another one where what was asked for is slow here."""

    precision: Computed
    factor: float
    why: str
    warning: str = ""


def choose(asked: str = "auto") -> PrecisionChoice:
    """Decide what ``asked`` (auto, bf16, fp32) means on this machine."""
    native, ratio = machine().bfloat16, factor()
    slower = f"bfloat16 is emulated on this processor ({machine().kind}): its matrix products take {1 / ratio:.1f} times as long as"
    if asked == "auto":
        if native and ratio >= WORTH:
            return PrecisionChoice(
                "bf16", ratio, f"bfloat16: its matrix products are {ratio:.1f} times as fast as float32's here"
            )
        if native:
            return PrecisionChoice("fp32", ratio, f"float32: bfloat16 would be only {ratio:.1f} times as fast here")
        return PrecisionChoice("fp32", ratio, f"float32: {slower} float32's")
    if asked == "bf16":
        if ratio < 1:
            return PrecisionChoice(
                "bf16", ratio, "bfloat16, as asked for", f"{slower} float32's; precision: auto takes float32"
            )
        return PrecisionChoice("bf16", ratio, "bfloat16, as asked for")
    return PrecisionChoice("fp32", ratio, "float32, as asked for")


def settle(recipe: Recipe) -> Recipe:
    """The recipe with everything decided that depends on the machine or the method: what a training is named by."""
    precision = choose().precision if recipe.precision == "auto" else recipe.precision
    return replace(recipe, precision=precision, upper=recipe.share)


@cache
def factor() -> float:
    """How many times as fast as float32 products of SHAPE the same are in bfloat16: the best of three each, at most a
    second."""
    torch = load_torch()
    return best(torch, torch.float32) / best(torch, torch.bfloat16)


def best(torch: Any, kind: torch.dtype, rounds: int = 3) -> float:
    """Least seconds of CPU time that a product takes, so that other programs on the machine count little."""
    tokens, width, inner = SHAPE
    left, right = torch.ones(tokens, width, dtype=kind), torch.ones(inner, width, dtype=kind)
    least = float("inf")
    with torch.no_grad():
        for _ in range(rounds + 1):  # the first one prepares
            began = time.process_time()
            torch.mm(left, right.t())
            least = min(least, time.process_time() - began)
    return max(least, 1e-6)
