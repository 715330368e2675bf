"""Gradients by themselves: every operation writes down how to go back, and the chain rule does the rest (reverse mode,
Linnainmaa 1970).

A ``Traced`` value remembers which values it was made of and, for each, the function that turns the slope of the loss by
the result into the slope by that value. ``backward`` walks from the loss to the beginning, each value after all that
were made of it, and adds slopes up where a value was used twice. Gradient descent then takes a step against the slope.
Whether a slope is right can be seen without any
calculus: move one number a little up and a little down and look at the loss (finite differences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(eq=False)
class Traced:
    """An array, the slope of the loss by it, and how it came about."""

    value: Array
    slope: Array = field(init=False)
    made_of: tuple[tuple[Traced, Callable[[Array], Array]], ...] = ()

    def __post_init__(self) -> None:
        self.value = np.asarray(self.value, np.float64)
        self.slope = np.zeros_like(self.value)

    def __add__(self, other: Traced) -> Traced:
        return Traced(self.value + other.value, ((self, _fold(self)), (other, _fold(other))))

    def __sub__(self, other: Traced) -> Traced:
        return Traced(self.value - other.value, ((self, _fold(self)), (other, lambda s: _fold(other)(-s))))

    def __mul__(self, other: Traced) -> Traced:
        back = (lambda s: _fold(self)(s * other.value)), (lambda s: _fold(other)(s * self.value))
        return Traced(self.value * other.value, ((self, back[0]), (other, back[1])))

    def __truediv__(self, other: Traced) -> Traced:
        return self * other.power(-1)

    def __matmul__(self, other: Traced) -> Traced:
        back = (lambda s: s @ other.value.T), (lambda s: self.value.T @ s)
        return Traced(self.value @ other.value, ((self, back[0]), (other, back[1])))

    def power(self, n: float) -> Traced:
        return Traced(self.value**n, ((self, lambda s: s * n * self.value ** (n - 1)),))

    def exp(self) -> Traced:
        result = np.exp(self.value)
        return Traced(result, ((self, lambda s: s * result),))

    def log(self) -> Traced:
        return Traced(np.log(self.value), ((self, lambda s: s / self.value),))

    def tanh(self) -> Traced:
        result = np.tanh(self.value)
        return Traced(result, ((self, lambda s: s * (1 - result**2)),))

    def sigmoid(self) -> Traced:
        result = 1 / (1 + np.exp(-self.value))
        return Traced(result, ((self, lambda s: s * result * (1 - result)),))

    def relu(self) -> Traced:
        return Traced(np.maximum(self.value, 0), ((self, lambda s: s * (self.value > 0)),))

    def sum(self) -> Traced:
        return Traced(self.value.sum(), ((self, lambda s: np.broadcast_to(s, self.value.shape)),))

    def mean(self) -> Traced:
        return Traced(self.value.mean(), ((self, lambda s: np.broadcast_to(s / self.value.size, self.value.shape)),))

    def softmax(self) -> Traced:
        """Over the last axis."""
        odds = np.exp(self.value - self.value.max(-1, keepdims=True))
        result = odds / odds.sum(-1, keepdims=True)
        return Traced(result, ((self, lambda s: result * (s - (s * result).sum(-1, keepdims=True))),))

    def cross_entropy(self, wanted: Sequence[int]) -> Traced:
        """Mean -ln P of one class a row, of logits of shape (rows, classes)."""
        rows = np.arange(len(self.value))
        shifted = self.value - self.value.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        slope = np.exp(logs)
        slope[rows, list(wanted)] -= 1
        return Traced(-logs[rows, list(wanted)].mean(), ((self, lambda s: s * slope / len(rows)),))

    def backward(self) -> None:
        """Add the slopes of this number by everything that it was made of."""
        order: list[Traced] = []
        seen: set[int] = set()
        stack: list[tuple[Traced, bool]] = [(self, False)]
        while stack:
            value, done = stack.pop()
            if done:
                order.append(value)
            elif id(value) not in seen:
                seen.add(id(value))
                stack.append((value, True))
                stack += [(part, False) for part, _ in value.made_of]
        self.slope = np.ones_like(self.value)
        for value in reversed(order):
            for part, back in value.made_of:
                part.slope = part.slope + back(value.slope)


def _fold(part: Traced) -> Callable[[Array], Array]:
    """Slopes of what was broadcast are summed where one number became many."""

    def fold(slope: Array) -> Array:
        extra = slope.ndim - part.value.ndim
        slope = slope.sum(tuple(range(extra))) if extra else slope
        wide = tuple(at for at, size in enumerate(part.value.shape) if size == 1 and slope.shape[at] > 1)
        return slope.sum(wide, keepdims=True) if wide else slope

    return fold


def differences(loss: Callable[[], float], value: Array, step: float = 1e-6) -> Array:
    """Slopes of ``loss()`` by each number of ``value``, which is moved in place, by central differences."""
    found = np.zeros_like(value)
    flat: Any = value.reshape(-1)
    for at in range(value.size):
        before = flat[at]
        flat[at] = before + step
        up = loss()
        flat[at] = before - step
        found.reshape(-1)[at] = (up - loss()) / (2 * step)
        flat[at] = before
    return found
