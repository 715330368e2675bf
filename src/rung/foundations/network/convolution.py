"""Layers for pictures: a convolution looks at every place with the same small window (LeCun et al. 1989).

Pictures are arrays of shape (height, width, channels). A convolution with k x k windows is one matrix product once
every window is written out as a row ("im2col"); its slope by the picture adds the rows back at their places. Pooling
keeps the largest of 2 x 2, so that deeper layers see more of the picture; doubling it again lets a network answer for
every pixel.
"""

from __future__ import annotations

import numpy as np

from rung.core.errors import InputError
from rung.foundations.network.layers import Array, Dense, Flatten, Layer, Relu, Shape
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.training import FitPlan, classes_of, cross_entropy, fit


class Convolution(Layer):
    """``filters`` windows of ``size`` x ``size`` (odd), zeros around the picture, so that it keeps its height and
    width."""

    def __init__(self, filters: int, size: int = 3) -> None:
        super().__init__()
        if size % 2 == 0:
            raise InputError(f"got windows of {size} x {size}, expected an odd size", remedy="take 3 or 5")
        self.filters, self.size = filters, size

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        height, width, channels = picture(shape)
        fan = self.size**2 * channels
        self.weights = {"w": rng.normal(0.0, np.sqrt(2.0 / fan), (fan, self.filters)), "b": np.zeros(self.filters)}
        return height, width, self.filters

    def forward(self, x: Array) -> Array:
        n, height, width, channels = x.shape
        k, edge = self.size, self.size // 2
        padded = np.zeros((n, height + 2 * edge, width + 2 * edge, channels), x.dtype)
        padded[:, edge : edge + height, edge : edge + width] = x
        self._rows = np.empty((n, height, width, k * k, channels), x.dtype)
        for at in range(k * k):
            down, right = divmod(at, k)
            self._rows[:, :, :, at] = padded[:, down : down + height, right : right + width]
        out = self._rows.reshape(n * height * width, -1) @ self.weights["w"] + self.weights["b"]
        return out.reshape(n, height, width, self.filters)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        n, height, width, windows, channels = self._rows.shape
        flat = slope.reshape(-1, self.filters)
        self.gradients["w"][...] = self._rows.reshape(len(flat), -1).T @ flat
        self.gradients["b"][...] = flat.sum(0)
        if not inputs:
            return np.empty(0)
        rows = (flat @ self.weights["w"].T).reshape(n, height, width, windows, channels)
        k, edge = self.size, self.size // 2
        padded = np.zeros((n, height + 2 * edge, width + 2 * edge, channels), slope.dtype)
        for at in range(windows):
            down, right = divmod(at, k)
            padded[:, down : down + height, right : right + width] += rows[:, :, :, at]
        return padded[:, edge : edge + height, edge : edge + width]


class MaxPool(Layer):
    """The largest of every 2 x 2; the slope goes to where it was (the first, where equal)."""

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        height, width, channels = picture(shape)
        if height % 2 or width % 2:
            raise InputError(
                f"got a picture of {height} x {width}, expected even height and width",
                remedy="pad or cut it",
                code="shape",
            )
        return height // 2, width // 2, channels

    def forward(self, x: Array) -> Array:
        self._corners = [x[:, down::2, right::2] for down in (0, 1) for right in (0, 1)]
        a, b, c, d = self._corners
        self._most = np.maximum(np.maximum(a, b), np.maximum(c, d))
        return self._most

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        n, height, width, channels = slope.shape
        out = np.zeros((n, 2 * height, 2 * width, channels), slope.dtype)
        free = np.ones(slope.shape, bool)
        for at, corner in enumerate(self._corners):
            here = (corner == self._most) & free
            free &= ~here
            out[:, at // 2 :: 2, at % 2 :: 2] = slope * here
        return out


class Double(Layer):
    """Every pixel as 2 x 2 pixels."""

    def build(self, shape: Shape, rng: np.random.Generator) -> Shape:
        height, width, channels = picture(shape)
        return 2 * height, 2 * width, channels

    def forward(self, x: Array) -> Array:
        return x.repeat(2, axis=1).repeat(2, axis=2)

    def backward(self, slope: Array, inputs: bool = True) -> Array:
        n, height, width, channels = slope.shape
        return np.asarray(slope.reshape(n, height // 2, 2, width // 2, 2, channels).sum((2, 4)))


def picture(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels. Raises InputError for a shape of another kind."""
    if len(shape) != 3:
        raise InputError(
            f"got inputs of shape {' x '.join(map(str, shape))}, expected height x width x channels",
            remedy="a grey picture has one channel: add an axis of length 1",
            code="shape",
        )
    return shape[0], shape[1], shape[2]


def classifier(shape: Shape, classes: int, width: int = 16, seed: int = 0) -> NeuralNetwork:
    """Convolution, pooling, convolution, pooling, two dense layers: LeNet's order (LeCun et al. 1998), for pictures of
    ``shape`` whose sides can be halved twice."""
    layers = [Convolution(width), Relu(), MaxPool(), Convolution(2 * width), Relu(), MaxPool(), Flatten()]
    return NeuralNetwork([*layers, Dense(4 * width), Relu(), Dense(classes)], shape, seed)


def learn(pictures: Array, labels: Array, plan: FitPlan | None = None, width: int = 16) -> NeuralNetwork:
    """A ``classifier`` of ``pictures`` (n, height, width, channels) with ``labels`` 0, 1, ... (n,)."""
    plan = plan or FitPlan(epochs=20, batch=32, rate=3e-3, change=shifted)
    network = classifier(pictures.shape[1:], classes_of(labels, len(pictures)), width, plan.seed)
    fit(network, (pictures, labels), cross_entropy, plan)
    return network


def shifted(pictures: Array, rng: np.random.Generator) -> Array:
    """Each picture moved by at most one pixel each way, zeros coming in."""
    out = np.zeros_like(pictures)
    down, right = rng.integers(-1, 2, (2, len(pictures)))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            rows = (down == dy) & (right == dx)
            moved = np.roll(pictures[rows], (dy, dx), axis=(1, 2))
            if dy:
                moved[:, 0 if dy > 0 else -1] = 0
            if dx:
                moved[:, :, 0 if dx > 0 else -1] = 0
            out[rows] = moved
    return out


def digits(seed: int = 0, test: int = 500) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """scikit-learn's 1,797 written digits: (pictures, labels) to train on, and ``test`` of them held out, the same for
    one ``seed``.

    Pictures are float32 of shape (n, 8, 8, 1) from 0 to 1, in steps of 1/16. Their order in the set is by writer, so
    they are drawn at random: some writers are on both sides.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = (found.images[..., None] / 16).astype(np.float32)
    labels = found.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, held = order[test:], order[:test]
    return (pictures[train], labels[train]), (pictures[held], labels[held])
