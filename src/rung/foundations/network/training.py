"""How a network learns: a loss says how wrong it is, its slope in every weight says which way is down, an optimizer
takes the step.

A loss takes what a network gives for a batch and what was wanted, and gives the mean loss and its slope by the outputs.
An optimizer changes a vector of weights in place, from the vector of slopes. Both equal torch's of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError, InputError
from rung.foundations.network.layers import Array, sigmoid
from rung.foundations.network.network import NeuralNetwork, demand_finite

Loss = Callable[[Array, Array], tuple[float, Array]]
"""(outputs, wanted) -> mean loss and its slope by the outputs, of their shape."""

# ---------------------------------------------------------------- losses


def squared_error(outputs: Array, wanted: Array) -> tuple[float, Array]:
    """Mean of (y - wanted)^2 over all numbers."""
    off = outputs - wanted
    return float((off**2).mean()), 2 * off / off.size


def absolute_error(outputs: Array, wanted: Array) -> tuple[float, Array]:
    """Huber's loss with the bend at 0.1 (smooth |y - wanted|): its least is near the median, so that few outliers count
    little."""
    off, bend = outputs - wanted, 0.1
    inside = np.abs(off) < bend
    loss = np.where(inside, off**2 / (2 * bend), np.abs(off) - bend / 2)
    return float(loss.mean()), np.where(inside, off / bend, np.sign(off)) / off.size


def binary_cross_entropy(outputs: Array, wanted: Array) -> tuple[float, Array]:
    """-log of the probability sigmoid(y) of what was wanted (0 to 1), averaged over all numbers, from the logits y."""
    loss = np.maximum(outputs, 0) - outputs * wanted + np.log1p(np.exp(-np.abs(outputs)))
    return float(loss.mean()), (sigmoid(outputs) - wanted) / outputs.size


def cross_entropy(outputs: Array, wanted: Array) -> tuple[float, Array]:
    """-log of the softmax probability of the class that was wanted, averaged over examples.

    ``outputs``: logits of shape (..., classes). ``wanted``: whole numbers of shape (...); a negative one does not
    count.
    """
    logits, labels = outputs.reshape(-1, outputs.shape[-1]), wanted.reshape(-1)
    counted = labels >= 0
    rows, n = np.arange(len(labels)), max(1, int(counted.sum()))
    shifted = logits - logits.max(1, keepdims=True)
    odds = np.exp(shifted)
    total = odds.sum(1, keepdims=True)
    losses = (np.log(total[:, 0]) - shifted[rows, labels]) * counted
    odds /= total
    odds[rows, labels] -= 1
    odds *= (counted / n).astype(odds.dtype)[:, None]
    return float(losses.sum() / n), odds.reshape(outputs.shape)


# ---------------------------------------------------------------- optimizers


class Optimizer(Protocol):
    """Takes one step down."""

    def step(self, weights: Array, slopes: Array) -> None:
        """Change ``weights`` in place; both are vectors of one length."""


@dataclass
class Sgd:
    """w -= rate v with v = momentum v + slope: a ball that rolls (Polyak 1964)."""

    rate: float = 0.1
    momentum: float = 0.0
    _speed: Array | None = field(default=None, init=False, repr=False)

    def step(self, weights: Array, slopes: Array) -> None:
        self._speed = slopes.copy() if self._speed is None else self.momentum * self._speed + slopes
        weights -= self.rate * self._speed


@dataclass
class RmsProp:
    """Each weight's step is divided by the running size of its own slopes (Tieleman and Hinton 2012)."""

    rate: float = 0.01
    decay: float = 0.99
    _square: Array | None = field(default=None, init=False, repr=False)

    def step(self, weights: Array, slopes: Array) -> None:
        if self._square is None:
            self._square = np.zeros_like(weights)
        self._square += (1 - self.decay) * (slopes**2 - self._square)
        weights -= self.rate * slopes / (np.sqrt(self._square) + 1e-8)


@dataclass
class Adam:
    """Momentum and RmsProp together, corrected for their start at zero (Kingma and Ba 2015); weight decay apart from
    the slopes (AdamW, Loshchilov and Hutter 2019)."""

    rate: float = 1e-3
    first: float = 0.9
    second: float = 0.999
    decay: float = 0.0
    _state: tuple[Array, Array, Array] | None = field(default=None, init=False, repr=False)
    _steps: int = field(default=0, init=False, repr=False)

    def step(self, weights: Array, slopes: Array) -> None:
        if self._state is None:
            self._state = np.zeros_like(weights), np.zeros_like(weights), np.empty_like(weights)
        mean, square, room = self._state
        self._steps += 1
        np.subtract(slopes, mean, out=room)
        room *= 1 - self.first
        mean += room
        np.multiply(slopes, slopes, out=room)
        room -= square
        room *= 1 - self.second
        square += room
        np.sqrt(square, out=room)
        room /= np.sqrt(1 - self.second**self._steps)
        room += 1e-8
        np.divide(mean, room, out=room)
        room *= self.rate / (1 - self.first**self._steps)
        if self.decay:
            weights *= 1 - self.rate * self.decay
        weights -= room


# ---------------------------------------------------------------- fitting


@dataclass(frozen=True)
class FitPlan:
    """How long, and in which steps: ``epochs`` passes over the data in shuffled batches. The rate falls to 0 along half
    a cosine.

    ``change``: what is done to a batch of inputs before it is shown (augmentation).
    """

    epochs: int = 20
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.0
    seed: int = 0
    change: Callable[[Array, np.random.Generator], Array] | None = None


def classes_of(labels: Array, count: int) -> int:
    """How many classes the labels 0, 1, ... of ``count`` examples name. Raises InputError (code "labels") for any
    other."""
    if labels.shape != (count,) or not count or labels.dtype.kind not in "iu" or labels.min() < 0:
        got = f"{labels.dtype} of shape {' x '.join(map(str, labels.shape))}"
        raise InputError(
            f"got labels {got}, expected whole numbers 0, 1, ..., one for each of {count} examples",
            remedy="number the classes from 0, as numpy.unique(labels, return_inverse=True)[1] does",
            code="labels",
        )
    return int(labels.max()) + 1


def fit(
    network: NeuralNetwork,
    data: tuple[Any, Array],
    loss: Loss,
    plan: FitPlan | None = None,
    watch: Callable[[int, float], bool] = lambda epoch, loss: False,
) -> list[float]:
    """Train with Adam on ``data`` = (inputs, wanted), both with one row an example; the mean loss of every epoch.

    ``watch`` hears of every epoch, and ends the training by saying True. Raises InputError for data that do not fit,
    FitError (code "diverged") when the loss is no longer a number; the weights are then those of before that epoch.
    """
    inputs, wanted = data
    plan = plan or FitPlan()
    if inputs.shape[0] != len(wanted) or not len(wanted):
        raise InputError(
            f"got {inputs.shape[0]} inputs and {len(wanted)} answers",
            remedy="give one answer for each input, at least one",
        )
    demand_finite(inputs)
    rng, optimizer = np.random.default_rng(plan.seed), Adam(plan.rate, decay=plan.decay)
    steps, curve = plan.epochs * -(-len(wanted) // plan.batch), []
    done = 0
    for epoch in range(plan.epochs):
        before, total = network.vector.copy(), 0.0
        order = rng.permutation(len(wanted))
        for begin in range(0, len(order), plan.batch):
            rows = order[begin : begin + plan.batch]
            x = inputs[rows] if plan.change is None else plan.change(inputs[rows], rng)
            value, slope = loss(network.forward(x), wanted[rows])
            network.backward(slope)
            optimizer.rate = plan.rate * 0.5 * (1 + np.cos(np.pi * done / steps))
            optimizer.step(network.vector, network.slopes)
            total, done = total + value * len(rows), done + 1
        curve.append(total / len(order))
        if not (np.isfinite(curve[-1]) and np.isfinite(network.vector).all()):
            network.vector[...] = before
            raise FitError(
                f"the training diverged in epoch {epoch + 1}: its loss is {curve[-1]:.3g}, and not all weights are numbers",
                remedy=f"lower the rate, which is {plan.rate:g}",
                code="diverged",
            )
        if watch(epoch, curve[-1]):
            break
    return curve


def check_gradients(network: NeuralNetwork, data: tuple[Array, Array], loss: Loss, step: float = 1e-6) -> float:
    """The largest difference between a gradient of ``backward`` and the central difference of the loss, over all
    weights and the inputs where they are real numbers, relative to the largest gradient. Needs a network in float64."""
    inputs, wanted = data
    slope = network.backward(loss(network.forward(inputs), wanted)[1], inputs=True)
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [(network.vector, network.slopes.copy())]
    if inputs.dtype.kind == "f":
        pairs.append((inputs.reshape(-1), slope.reshape(-1).copy()))
    worst = 0.0
    for values, exact in pairs:
        measured = np.empty_like(exact)
        for at in range(len(values)):
            kept = values[at]
            values[at] = kept + step
            high = loss(network.forward(inputs), wanted)[0]
            values[at] = kept - step
            low = loss(network.forward(inputs), wanted)[0]
            values[at] = kept
            measured[at] = (high - low) / (2 * step)
        worst = max(worst, float(np.abs(measured - exact).max() / max(np.abs(exact).max(), 1e-12)))
    return worst
