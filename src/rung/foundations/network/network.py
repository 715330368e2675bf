"""Layers one after another, with all weights in one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rung.core.errors import InputError
from rung.foundations.network.layers import Array, Layer, Shape


def demand_finite(x: Any) -> None:
    """Raises InputError (code "finite") for inputs that are not finite numbers."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(
            "got inputs that are no numbers, or not finite", remedy="leave those examples out", code="finite"
        )


class NeuralNetwork:
    """A stack of layers for inputs of ``shape`` (without the batch).

    ``vector`` holds every weight and ``slopes`` every gradient; the layers' own arrays are views into them, so that an
    optimizer works on two vectors whatever the layers are.
    """

    def __init__(self, layers: Sequence[Layer], shape: Shape, seed: int = 0, dtype: Any = np.float32) -> None:
        """Raises InputError where a layer cannot take what the one before it gives."""
        self.layers, self.shape, self.dtype = list(layers), tuple(shape), np.dtype(dtype)
        rng, self.outputs = np.random.default_rng(seed), self.shape
        for layer in self.layers:
            self.outputs = layer.build(self.outputs, rng)
        self.vector = np.zeros(sum(w.size for layer in self.layers for w in layer.weights.values()), dtype)
        self.slopes, at = np.zeros_like(self.vector), 0
        for layer in self.layers:
            for name, drawn in layer.weights.items():
                view = self.vector[at : at + drawn.size].reshape(drawn.shape)
                view[...] = drawn
                layer.weights[name] = view
                layer.gradients[name] = self.slopes[at : at + drawn.size].reshape(drawn.shape)
                at += drawn.size

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return int(self.vector.size)

    def forward(self, x: Any) -> Array:
        """Outputs of shape (batch, *outputs). Raises InputError for inputs of another shape."""
        if x.shape[1:] != self.shape:
            raise InputError(
                f"got inputs of shape {' x '.join(map(str, x.shape[1:])) or 'single numbers'}, expected "
                f"{' x '.join(map(str, self.shape))}",
                remedy="bring every input to that shape, or build the network for yours",
                code="shape",
            )
        if x.dtype != self.dtype and x.dtype.kind == "f":
            x = x.astype(self.dtype)
        for layer in self.layers:
            x = layer.forward(x)
        return np.asarray(x)

    def backward(self, slope: Array, inputs: bool = False) -> Array:
        """Fill ``slopes`` from the slope of the loss by the outputs of the last ``forward``; with ``inputs`` also the
        slope by those, else an empty array."""
        for at in reversed(range(len(self.layers))):
            slope = self.layers[at].backward(slope, inputs or at > 0)
        return slope

    def predict(self, x: Any, batch: int = 256) -> Array:
        """``forward`` in parts, for many inputs or none. Raises InputError (code "finite") for NaN among them."""
        demand_finite(x)
        return np.concatenate([self.forward(x[at : at + batch]) for at in range(0, max(1, x.shape[0]), batch)])

    def arrays(self) -> dict[str, Array]:
        """The weights by name, ``0.w`` and so on."""
        return {f"{at}.{name}": w for at, layer in enumerate(self.layers) for name, w in layer.weights.items()}

    def restore(self, arrays: Mapping[str, Array]) -> NeuralNetwork:
        """Take the weights that ``arrays`` gave. Raises KeyError or ValueError where they are of another network."""
        for name, view in self.arrays().items():
            if arrays[name].shape != view.shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"weights {name} are of shape {arrays[name].shape}, or not finite")
            view[...] = arrays[name]
        return self
