"""How to tune: one frozen record for every method, with the defaults that suit the method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rung.core.errors import InputError

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

Method = Literal["lora", "qlora", "full", "bottleneck", "prompt", "prefix"]
METHODS: tuple[Method, ...] = ("lora", "qlora", "full", "bottleneck", "prompt", "prefix")

RATES: dict[Method, tuple[float, float, float]] = {
    "full": (1e-5, 3e-5, 2e-4),
    "lora": (5e-5, 1e-3, 5e-3),
    "qlora": (5e-5, 1e-3, 5e-3),
    "bottleneck": (1e-4, 1e-3, 5e-3),
    "prompt": (1e-3, 3e-2, 3e-1),
    "prefix": (1e-4, 1e-2, 1e-1),
}
"""Learning rates of each method: the usual lowest, the default, the usual highest. A rate outside is trained with, and
told."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to tune.

    ``method``: lora (Hu et al. 2021, arXiv:2106.09685), qlora (the same over a base of 4 or 8 ``bits``; Dettmers et al.
    2023, arXiv:2305.14314), full (every weight; float32 masters behind a bf16 model), bottleneck (adapter modules of
    width hidden / ``reduction`` after each MLP; Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2020,
    arXiv:2005.00247), prompt (``virtual`` trained embeddings before the text; Lester et al. 2021, arXiv:2104.08691),
    prefix (``virtual`` trained keys and values in each layer; Li & Liang 2021, arXiv:2101.00190).
    ``rank``, ``alpha``, ``dropout``, ``targets``, ``rslora``, ``dora`` are LoRA's. ``rate`` None: the method's default.
    ``batch`` rows make a step; ``tokens`` is how many are computed at once (gradient accumulation: memory, not result);
    ``warmup`` is a fraction of all steps below 1, a number of steps from 1; ``patience`` is how many dev checks without
    a new best end the training (0: never); ``checks`` is how many dev checks an epoch has, or ``interval`` how many
    steps lie between two (0: by checks); ``steps`` cuts the training short of its
    epochs (0: no cut); ``precision`` is what is computed in (auto: what this processor does well, see
    ``precision.choose``); ``checkpointing`` recomputes activations in the backward pass. ``upper`` is the share of the
    layers, counted from the output, that LoRA adapts (None: all): what the layers below put out is computed once a row
    and kept.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    rslora: bool = False
    dora: bool = False
    bits: int = 4
    reduction: int = 16
    virtual: int = 16
    rate: float | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    epochs: int = 5
    steps: int = 0
    batch: int = 16
    tokens: int = 1024
    decay: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)
    clip: float = 1.0
    patience: int = 2
    checks: int = 1
    interval: int = 0
    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    checkpointing: bool = False
    upper: float | None = None

    @property
    def peak(self) -> float:
        """The learning rate after warm-up."""
        return RATES[self.method][1] if self.rate is None else self.rate

    @property
    def share(self) -> float:
        """The share of layers that are adapted."""
        return 1.0 if self.upper is None else self.upper

    @property
    def advice(self) -> str:
        """A sentence when the rate lies outside the method's usual range, else empty."""
        low, default, high = RATES[self.method]
        if low <= self.peak <= high:
            return ""
        return f"rate {self.peak:g} is outside {low:g} to {high:g}, usual for {self.method} (default {default:g})"

    @property
    def wanted(self) -> int:
        """Virtual tokens in front of each row."""
        return self.virtual if self.method in ("prompt", "prefix") else 0

    def total(self, rows: int) -> int:
        """Optimizer steps of the whole training."""
        steps = math.ceil(rows / self.batch) * self.epochs
        return min(steps, self.steps or steps)

    def validate(self) -> None:
        """Raise InputError for a value that cannot train."""
        for name, allowed in (
            ("method", METHODS),
            ("schedule", ("cosine", "linear", "constant")),
            ("precision", ("auto", "bf16", "fp32")),
            ("bits", (4, 8)),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, expected {' or '.join(map(str, allowed))}",
                    remedy="correct the recipe",
                )
        for name, low in (
            ("rank", 1),
            ("epochs", 1),
            ("batch", 1),
            ("tokens", 1),
            ("checks", 1),
            ("reduction", 1),
            ("virtual", 1),
            ("patience", 0),
            ("steps", 0),
            ("interval", 0),
        ):
            if getattr(self, name) < low:
                raise InputError(
                    f"{name} must be at least {low}, got {getattr(self, name)}", remedy=f"set {name}: {low}"
                )
        if not 0 < self.share <= 1 or (self.share < 1 and self.method != "lora"):
            raise InputError(
                f"upper is {self.upper} with method {self.method}, expected a share above 0 and at most 1 (below 1: lora alone)",
                remedy="for example upper: 0.5 with method: lora",
            )
        if not 0 <= self.dropout < 1 or self.warmup < 0 or not self.peak > 0 or not self.clip > 0 or self.decay < 0:
            raise InputError(
                f"got warmup {self.warmup}, dropout {self.dropout}, rate {self.peak}, clip {self.clip}, decay {self.decay}; "
                "expected dropout in [0, 1), warmup and decay not below 0, rate and clip above 0",
                remedy="correct the recipe",
            )


def rate_at(recipe: Recipe, step: int, total: int) -> float:
    """Learning rate of 0-based ``step``: linear warm-up, then cosine or linear to zero, or constant."""
    warm = math.ceil(recipe.warmup * total) if recipe.warmup < 1 else int(recipe.warmup)
    if step < warm:
        return recipe.peak * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    if recipe.schedule == "cosine":
        return recipe.peak * 0.5 * (1 + math.cos(math.pi * done))
    return recipe.peak * (1 - done) if recipe.schedule == "linear" else recipe.peak
