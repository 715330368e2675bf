"""The parts of a neural network: a neuron weighs its inputs, adds a bias and bends the sum (Rosenblatt 1958).

A layer is many neurons at once: ``forward`` computes what they say for a batch, ``backward`` takes the slope of the
loss by the outputs, leaves the slopes by the layer's own weights in ``gradients`` and gives back the slope by the
inputs: the chain rule, one layer at a time (Rumelhart, Hinton and Williams 1986). Each layer says in ``build`` what
shape it makes of a shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError

Array = NDArray[Any]
Shape = tuple[int, ...]


class Layer(ABC):
    """A differentiable function of a batch. Shapes are without the batch's own axis, which is first."""

    def __init__(self) -> None:
        self.weights: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        """Draw the weights for inputs of ``shape``; the shape of the outputs. Raises InputError for a shape that it
        cannot take."""
        return shape

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """The outputs, of shape (batch, ...); what ``backward`` needs is kept."""

    @abstractmethod
    def backward(self, slope: Array, inputs: bool = True) -> Array:
        """Slope by the inputs from the ``slope`` by the outputs; fills ``gradients``. Without ``inputs`` the result is
        not used (there is nothing beneath), and layers for which it costs much give back an empty array."""


class Dense(Layer):
    """``units`` neurons, each over all inputs of the last axis: x W + b. A batch may be a sparse scipy matrix.

    Weights are drawn with variance 2 / inputs (He et al. 2015), which keeps the size of signals behind a ReLU, times
    ``gain``.
    """

    def __init__(self, units: int, gain: float = 1.0) -> None:
        super().__init__()
        self.units, self.gain = units, gain

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        if not shape:
            raise InputError("a dense layer got single numbers", remedy="give it rows of numbers")
        spread = self.gain * np.sqrt(2.0 / shape[-1])
        self.weights = {"w": rng.normal(0.0, spread, (shape[-1], self.units)), "b": np.zeros(self.units)}
        return (*shape[:-1], self.units)

    def forward(self, x: Array) -> Array:
        self._x = x
        return np.asarray(x @ self.weights["w"] + self.weights["b"])

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        w, flat = self.weights["w"], slope.reshape(-1, self.units)
        rows = self._x if self._x.ndim == 2 else self._x.reshape(-1, w.shape[0])
        self.gradients["w"][...] = rows.T @ flat
        self.gradients["b"][...] = flat.sum(0)
        return slope @ w.T if inputs else np.empty(0)


class Relu(Layer):
    """max(x, leak x): a positive sum passes, a negative one is kept out (``leak`` 0) or let through a little."""

    def __init__(self, leak: float = 0.0) -> None:
        super().__init__()
        self.leak = leak

    def forward(self, x: Array) -> Array:
        self._on = x > 0
        return np.where(self._on, x, x * self.leak) if self.leak else np.maximum(x, 0)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        return np.where(self._on, slope, slope * self.leak) if self.leak else slope * self._on


class Sigmoid(Layer):
    """1 / (1 + e^-x), between 0 and 1; its slope is y (1 - y), at most a quarter: deep stacks of it learn slowly."""

    def forward(self, x: Array) -> Array:
        self._y = sigmoid(x)
        return self._y

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        return np.asarray(slope * self._y * (1 - self._y))


class Tanh(Layer):
    """The hyperbolic tangent, between -1 and 1; its slope is 1 - y^2."""

    def forward(self, x: Array) -> Array:
        self._y = np.tanh(x)
        return self._y

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        return np.asarray(slope * (1 - self._y**2))


class Flatten(Layer):
    """Everything of an example in one row."""

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return (int(np.prod(shape)),)

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        return slope.reshape(self._shape)


class Embedding(Layer):
    """A row of ``units`` numbers for each of ``vocabulary`` symbols; the inputs are whole numbers."""

    def __init__(self, vocabulary: int, units: int) -> None:
        super().__init__()
        self.vocabulary, self.units = vocabulary, units

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        self.weights = {"table": rng.normal(0.0, 1.0, (self.vocabulary, self.units)) / np.sqrt(self.units)}
        return (*shape, self.units)

    def forward(self, x: Array) -> Array:
        self._x = x
        return np.asarray(self.weights["table"][x])

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        table = self.gradients["table"]
        table[...] = 0
        np.add.at(table, self._x.reshape(-1), slope.reshape(-1, self.units))
        return np.empty(0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) of every number, which a large negative one does not overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))
