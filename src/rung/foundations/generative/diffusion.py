"""Denoising diffusion (Ho et al. 2020): noise is added in small steps until nothing is left, and a network learns to go
back.

Forward, x_t = sqrt(a_t) x_(t-1) + sqrt(1 - a_t) e adds a little normal noise e at each of T steps. The sum of normals
is normal, hence x_t = sqrt(A_t) x_0 + sqrt(1 - A_t) e in one step, with A_t the product of the a's: that closed form
makes training cheap. The network sees x_t and t and says what x_0 was, which says what e was, too; its squared error is
weighed by A_t / (1 - A_t), at most 5, so that every t counts about as it would for e (Hang et al. 2023). A plain
network finds x_0 more easily: pictures are few of all that can be, noise is not. In reverse, from noise, each step goes
a little towards what the network says and adds a little fresh noise; with fewer steps and none added it is DDIM (Song
et al. 2021). The schedule is Nichol and Dhariwal's cosine (2021). Rows may be pictures or
series: nothing here knows of pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError, InputError
from rung.foundations.network.layers import Array, Dense, Relu
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.training import Adam, classes_of, squared_error


@dataclass(frozen=True)
class NoiseSchedule:
    """Noise in T steps: ``kept[t]`` is A of the first t steps (kept[0] is 1), of shape (T + 1,)."""

    kept: NDArray[np.float64]

    @classmethod
    def cosine(cls, steps: int = 200) -> NoiseSchedule:
        """Raises InputError for fewer than two steps."""
        if steps < 2:
            raise InputError(f"got {steps} steps of noise", remedy="take 2 or more")
        falling = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        each = np.maximum(falling[1:] / falling[:-1], 1e-3)
        return cls(np.concatenate([[1.0], np.cumprod(each)]))

    @property
    def steps(self) -> int:
        return len(self.kept) - 1

    def forward(self, x: Array, t: Array, noise: Array) -> Array:
        """x_t of rows x_0 (n, width) at steps t (n,) in the closed form."""
        kept = self.kept[t][:, None]
        return np.asarray(np.sqrt(kept) * x + np.sqrt(1 - kept) * noise, x.dtype)

    def chain(self, x: Array, t: int, rng: np.random.Generator) -> Array:
        """x_t of rows x_0, one step after another: what ``forward`` makes in one."""
        for at in range(1, t + 1):
            step = self.kept[at] / self.kept[at - 1]
            x = np.sqrt(step) * x + np.sqrt(1 - step) * rng.normal(size=x.shape)
        return x


@dataclass(frozen=True)
class DiffusionPlan:
    """``steps`` of training on batches; ``noise`` is T; ``average``: how much of the running mean of the weights, with
    which it samples, stays at a step."""

    steps: int = 4000
    batch: int = 128
    rate: float = 2e-3
    units: int = 256
    noise: int = 200
    average: float = 0.998
    seed: int = 0


@dataclass
class Diffusion:
    """A trained model of rows of ``width`` numbers, of ``classes`` kinds (0: none)."""

    network: NeuralNetwork
    schedule: NoiseSchedule
    width: int
    classes: int
    curve: list[float]

    def sample(self, labels: Array, seed: int = 0, steps: int = 0) -> Array:
        """A row for each label (n, width). ``steps``: 0 for all T with fresh noise in each (DDPM), or fewer without any
        (DDIM).

        Raises InputError for labels that it was not trained on.
        """
        if self.classes and len(labels) and (labels.min() < 0 or labels.max() >= self.classes):
            raise InputError(f"got labels {labels.min()} to {labels.max()}", remedy=f"ask for 0 to {self.classes - 1}")
        rng, fresh = np.random.default_rng(seed), not steps
        times = np.unique(np.linspace(0, self.schedule.steps, (steps or self.schedule.steps) + 1).round().astype(int))
        x = rng.normal(size=(len(labels), self.width)).astype(np.float32)
        for t, before in zip(times[:0:-1], times[-2::-1], strict=True):
            now, then = self.schedule.kept[t], self.schedule.kept[before]
            clean = np.clip(self.network.predict(_told(x, np.full(len(x), t), labels, self), 1024), -1, 1)
            if not fresh:
                left = (x - np.sqrt(now) * clean) / np.sqrt(1 - now)
                x = (np.sqrt(then) * clean + np.sqrt(1 - then) * left).astype(np.float32)
                continue
            step = now / then
            mean = (np.sqrt(then) * (1 - step) * clean + np.sqrt(step) * (1 - then) * x) / (1 - now)
            spread = np.sqrt((1 - then) / (1 - now) * (1 - step))
            x = (mean + spread * rng.normal(size=x.shape)).astype(np.float32)
        return x


def train(
    rows: Array,
    labels: Array | None = None,
    plan: DiffusionPlan | None = None,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> Diffusion:
    """A diffusion model of rows (n, width) from -1 to 1, with ``labels`` 0, 1, ... of each or none.

    Raises InputError for rows of another shape or range, or labels that are not 0, 1, ...; FitError (code "diverged")
    when the loss is no longer a number.
    """
    plan = plan or DiffusionPlan()
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all() or np.abs(rows).max() > 1.0001:
        raise InputError(
            f"got rows of shape {' x '.join(map(str, rows.shape))}, expected n x width with numbers from -1 to 1",
            remedy="flatten each example and scale it",
            code="shape",
        )
    schedule, rng = NoiseSchedule.cosine(plan.noise), np.random.default_rng(plan.seed)
    classes, width = (0 if labels is None else classes_of(labels, len(rows))), rows.shape[1]
    asked = np.zeros(len(rows), np.int64) if labels is None else labels
    layers = [Dense(plan.units), Relu(), Dense(plan.units), Relu(), Dense(plan.units), Relu(), Dense(width, gain=0.3)]
    model = Diffusion(NeuralNetwork(layers, (width + CLOCK + classes,), plan.seed), schedule, width, classes, [])
    network, optimizer, kept, total = model.network, Adam(plan.rate), model.network.vector.copy(), 0.0
    for step in range(1, plan.steps + 1):
        chosen = rng.integers(len(rows), size=plan.batch)
        t = rng.integers(1, plan.noise + 1, plan.batch)
        noise = rng.normal(size=(plan.batch, width)).astype(np.float32)
        clean = rows[chosen].astype(np.float32)
        seen = schedule.forward(clean, t, noise)
        weight = np.sqrt(np.clip(schedule.kept[t] / (1 - schedule.kept[t]), 0.02, 5)).astype(np.float32)[:, None]
        said = network.forward(_told(seen, t, asked[chosen], model))
        loss, slope = squared_error(weight * said, weight * clean)
        network.backward(weight * slope)
        optimizer.rate = plan.rate * 0.5 * (1 + np.cos(np.pi * step / plan.steps))
        optimizer.step(network.vector, network.slopes)
        stays = min(plan.average, (1 + step) / (10 + step))
        kept += (1 - stays) * (network.vector - kept)
        total += loss
        if step % 100 == 0 or step == plan.steps:
            model.curve.append(total / (step % 100 or 100))
            if not np.isfinite(total):
                raise FitError(
                    f"the training diverged by step {step}: its loss is {total}",
                    remedy=f"lower the rate, which is {plan.rate:g}",
                    code="diverged",
                )
            watch(step, model.curve[-1])
            total = 0.0
    network.vector[...] = kept
    return model


CLOCK = 32
"""Numbers that tell the network the time: sines and cosines of 16 speeds."""


def _told(x: Array, t: Array, labels: Array, model: Diffusion) -> Array:
    """Rows with the time and the class behind them."""
    speeds = np.exp(np.linspace(0, np.log(200), CLOCK // 2))
    angles = t[:, None] / model.schedule.steps * speeds
    kinds = np.eye(model.classes, dtype=np.float32)[labels] if model.classes else np.empty((len(x), 0))
    return np.concatenate([x, np.sin(angles), np.cos(angles), kinds], 1, dtype=np.float32)
