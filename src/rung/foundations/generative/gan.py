"""A generative adversarial network (Goodfellow et al. 2014): one network makes pictures of noise, another says which
are real.

Both are told the class (Mirza and Osindero 2014). The critic learns to tell real pictures from made ones, the generator
to make what it takes for real: its gradient comes through the critic. That game may go wrong: losses that are no
number, a generator that makes one picture only (collapse), or one that becomes ever worse. So every so often the
Fréchet distance of the pixels and the spread of what is made are compared with the data's: training stops where they
say so, and the weights with the least distance are the ones kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rung.core.errors import InputError
from rung.foundations.generative.judge import frechet
from rung.foundations.network.layers import Array, Dense, Relu, Sigmoid
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.training import Adam, binary_cross_entropy, classes_of

COLLAPSED = 0.2
"""Share of the data's variance under which what is made counts as one picture."""
WORSE = 4.0
"""Times its best distance that a generator may be off, in three looks one after another."""


@dataclass(frozen=True)
class GanPlan:
    """``steps`` of both networks on batches; ``look`` is how often the result is compared with the data."""

    steps: int = 4000
    batch: int = 64
    rate: float = 1e-3
    noise: int = 16
    units: int = 128
    look: int = 250
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GanLook:
    """At ``step``: the critic's share of right verdicts, Fréchet ``distance`` of the pixels, variance in units of the
    data's."""

    step: int
    critic: float
    distance: float
    spread: float


@dataclass
class Gan:
    """A trained generator for ``classes`` kinds of pictures of ``shape``. ``stopped`` says why training ended early, or
    is empty."""

    generator: NeuralNetwork
    shape: tuple[int, ...]
    classes: int
    noise: int
    looks: list[GanLook]
    best: int = 0
    stopped: str = ""

    def sample(self, labels: Array, seed: int = 0) -> Array:
        """A picture for each label, of shape (n, *shape), from 0 to 1."""
        noise = np.random.default_rng(seed).normal(size=(len(labels), self.noise))
        return self.generator.predict(_told(noise, labels, self.classes)).reshape(len(labels), *self.shape)


def train(
    pictures: Array, labels: Array, plan: GanPlan | None = None, watch: Callable[[GanLook], None] = lambda look: None
) -> Gan:
    """A GAN of pictures (n, ...) from 0 to 1 and their labels 0, 1, ... Raises InputError for fewer than two pictures,
    other labels, and numbers outside 0 to 1."""
    plan = plan or GanPlan()
    if len(pictures) < 2:
        raise InputError(f"got {len(pictures)} pictures", remedy="give at least two, a label each")
    if not (np.isfinite(pictures).all() and pictures.min() >= 0 and pictures.max() <= 1):
        raise InputError(
            "got pictures with numbers outside 0 to 1", remedy="divide by the largest value that there can be"
        )
    real = pictures.reshape(len(pictures), -1).astype(np.float32)
    classes, width, rng = classes_of(labels, len(real)), real.shape[1], np.random.default_rng(plan.seed)
    units, n = plan.units, plan.batch
    generator = NeuralNetwork(
        [Dense(units), Relu(0.2), Dense(units), Relu(0.2), Dense(width, gain=0.3), Sigmoid()],
        (plan.noise + classes,),
        plan.seed,
    )
    critic = NeuralNetwork(
        [Dense(units), Relu(0.2), Dense(units), Relu(0.2), Dense(1)], (width + classes,), plan.seed + 1
    )
    makes, judges = Adam(plan.rate, 0.5), Adam(plan.rate, 0.5)
    gan = Gan(generator, pictures.shape[1:], classes, plan.noise, [])
    kept = np.inf, generator.vector.copy()
    for step in range(1, plan.steps + 1):
        rows = rng.integers(len(real), size=n)
        asked = labels[rows]
        told = _told(rng.normal(size=(n, plan.noise)), asked, classes)
        made = generator.forward(told)
        both = np.concatenate([_told(real[rows], asked, classes), _told(made, asked, classes)])
        # One-sided smoothing (Salimans et al. 2016): 0.9 for real keeps the critic from being ever surer.
        verdict = critic.forward(both)
        right = float(((verdict[:n] > 0).mean() + (verdict[n:] < 0).mean()) / 2)
        loss, slope = binary_cross_entropy(verdict, np.repeat([[0.9], [0.0]], n, 0).astype(np.float32))
        critic.backward(slope)
        judges.step(critic.vector, critic.slopes)
        slope = binary_cross_entropy(critic.forward(both[n:]), np.ones((n, 1), np.float32))[1]
        generator.backward(critic.backward(slope, inputs=True)[:, :width])
        makes.step(generator.vector, generator.slopes)
        if step % plan.look and step < plan.steps and np.isfinite(loss):
            continue
        look = _look(gan, real, labels, step, right)
        gan.looks.append(look)
        watch(look)
        if look.distance < kept[0]:
            kept, gan.best = (look.distance, generator.vector.copy()), step
        gan.stopped = _wrong(gan.looks)
        if gan.stopped:
            break
    generator.vector[...] = kept[1]
    return gan


def _look(gan: Gan, real: Array, labels: Array, step: int, right: float) -> GanLook:
    if not np.isfinite(gan.generator.vector).all():
        return GanLook(step, right, np.inf, 0.0)
    asked = np.resize(labels, 500)
    made = gan.sample(asked, seed=1).reshape(len(asked), -1)
    return GanLook(step, right, frechet(made, real), float(made.var(0).sum() / max(float(real.var(0).sum()), 1e-12)))


def _wrong(looks: list[GanLook]) -> str:
    """Why training should end now, or an empty text."""
    last, recent = looks[-1], looks[-3:]
    if not np.isfinite(last.distance):
        return f"diverged at step {last.step}: weights are no longer numbers"
    if len(recent) == 3 and all(look.spread < COLLAPSED for look in recent):
        return f"collapsed at step {last.step}: its pictures have {last.spread:.0%} of the variance of the data"
    best = min(look.distance for look in looks)
    if len(recent) == 3 and all(look.distance > WORSE * best + 0.1 for look in recent):
        return f"diverged at step {last.step}: distance {last.distance:.2f}, {best:.2f} at its best"
    return ""


def _told(rows: Array, labels: Array, classes: int) -> Array:
    """Rows with the class behind them as a row of zeros with one 1."""
    return np.concatenate([rows, np.eye(classes, dtype=np.float32)[labels]], 1, dtype=np.float32)
