"""Layers with a memory: each step sees its input and what the step before left (Elman 1990; Hochreiter and Schmidhuber
1997).

Inputs are of shape (steps, channels), outputs of shape (steps, units). ``backward`` runs through time from the last
step to the first (Werbos 1990). The products with the inputs, and all slopes by weights, are made for all steps at
once; only what depends on the step before is done step by step.
"""

from __future__ import annotations

import numpy as np

from rung.core.errors import InputError
from rung.foundations.network.layers import Array, Layer, Shape, sigmoid


class _Recurrent(Layer):
    """Weights ``x`` (channels, gates units), ``h`` (units, gates units) and ``b``; what a step does is its subclasses'
    own."""

    gates = 1

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self._h: Array = np.empty(0)

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        if len(shape) != 2:
            raise InputError(
                f"got inputs of shape {' x '.join(map(str, shape))}, expected steps x channels",
                remedy="a series of single numbers has one channel: add an axis of length 1",
                code="shape",
            )
        bound = 1 / np.sqrt(self.units)
        wide = self.gates * self.units
        self.weights = {
            "x": rng.uniform(-bound, bound, (shape[1], wide)),
            "h": rng.uniform(-bound, bound, (self.units, wide)),
            "b": np.zeros(wide),
        }
        return shape[0], self.units

    def _spread(self, x: Array) -> Array:
        """What the inputs add to the gates, of shape (steps, batch, gates units)."""
        self._x = np.ascontiguousarray(x.transpose(1, 0, 2))
        return np.asarray(self._x @ self.weights["x"] + self.weights["b"])

    def _gather(self, sums: Array, inputs: bool) -> Array:
        """All slopes from those by the ``sums`` of the gates (steps, batch, gates units)."""
        flat, before = sums.reshape(-1, sums.shape[-1]), self._h[:-1].reshape(-1, self.units)
        self.gradients["x"][...] = self._x.reshape(len(flat), -1).T @ flat
        self.gradients["h"][...] = before.T @ flat
        self.gradients["b"][...] = flat.sum(0)
        return (sums @ self.weights["x"].T).transpose(1, 0, 2) if inputs else np.empty(0)


class Rnn(_Recurrent):
    """h' = tanh(x Wx + h Wh + b)."""

    def forward(self, x: Array) -> Array:
        sums = self._spread(x)
        self._h = np.zeros((len(sums) + 1, len(x), self.units), sums.dtype)
        for t, row in enumerate(sums):
            np.tanh(row + self._h[t] @ self.weights["h"], out=self._h[t + 1])
        return self._h[1:].transpose(1, 0, 2)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        sums, later = np.empty_like(self._h[1:]), np.zeros_like(self._h[0])
        back = self.weights["h"].T
        for t in reversed(range(len(sums))):
            sums[t] = (slope[:, t] + later) * (1 - self._h[t + 1] ** 2)
            later = sums[t] @ back
        return self._gather(sums, inputs)


class Lstm(_Recurrent):
    """c' = f c + i g, h' = o tanh(c'): the gates f, i, o (sigmoids) let the cell c forget, take in and show; g is a
    tanh.

    The sum in c' lets slopes pass many steps unchanged where f is near 1, hence its bias begins at 1 (Gers et al.
    2000). Gates stand in torch's order i, f, g, o.
    """

    gates = 4

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        out = super().build(shape, rng)
        self.weights["b"][self.units : 2 * self.units] = 1
        return out

    def forward(self, x: Array) -> Array:
        sums, u = self._spread(x), self.units
        self._h = np.zeros((len(sums) + 1, len(x), u), sums.dtype)
        self._c, self._bent = np.zeros_like(self._h), np.zeros_like(self._h[1:])
        self._on = sums
        for t in range(len(sums)):
            gate, cell = self._on[t], self._c[t + 1]
            gate += self._h[t] @ self.weights["h"]
            g = np.tanh(gate[:, 2 * u : 3 * u])
            gate[...] = sigmoid(gate)
            gate[:, 2 * u : 3 * u] = g
            np.multiply(gate[:, u : 2 * u], self._c[t], out=cell)
            cell += gate[:, :u] * g
            np.tanh(cell, out=self._bent[t])
            np.multiply(gate[:, 3 * u :], self._bent[t], out=self._h[t + 1])
        return self._h[1:].transpose(1, 0, 2)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        u, back = self.units, self.weights["h"].T
        sums = np.empty_like(self._on)
        later, carried = np.zeros_like(self._h[0]), np.zeros_like(self._h[0])
        for t in reversed(range(len(sums))):
            i, f, g, o = (self._on[t][:, at : at + u] for at in range(0, 4 * u, u))
            shown, bent, out = slope[:, t] + later, self._bent[t], sums[t]
            cell = shown * o * (1 - bent**2) + carried
            out[:, :u] = cell * g * i * (1 - i)
            out[:, u : 2 * u] = cell * self._c[t] * f * (1 - f)
            out[:, 2 * u : 3 * u] = cell * i * (1 - g**2)
            out[:, 3 * u :] = shown * bent * o * (1 - o)
            later, carried = out @ back, cell * f
        return self._gather(sums, inputs)


class Last(Layer):
    """The last step of a series."""

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        return shape[1:]

    def forward(self, x: Array) -> Array:
        self._shape = x.shape
        return x[:, -1]

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        out = np.zeros(self._shape, slope.dtype)
        out[:, -1] = slope
        return out
