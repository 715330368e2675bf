"""How good are made pictures? Asked of what had no part in making them.

A classifier trained on real pictures is shown a picture that was asked to be of a class: does it see that class? The
Fréchet distance (Heusel et al. 2017) compares mean and covariance of all of them with real ones: it also sees what is
missing. The distance to the nearest training picture, beside that of real pictures that were held out, shows what was
copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.foundations.network.convolution import learn
from rung.foundations.network.layers import Array
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.training import FitPlan


@dataclass(frozen=True)
class PictureJudge:
    """A classifier, and the real pictures that it was trained on."""

    network: NeuralNetwork
    real: Array

    @classmethod
    def fit(cls, pictures: Array, labels: Array, plan: FitPlan | None = None) -> PictureJudge:
        """Train it on real pictures (n, height, width, channels)."""
        return cls(learn(pictures, labels, plan), pictures)

    def agrees(self, pictures: Array, labels: Array) -> NDArray[np.bool_]:
        """Whether it sees in each picture the class that was asked for, of shape (n,)."""
        return np.asarray(self.network.predict(pictures).argmax(1) == labels)

    def features(self, pictures: Array) -> Array:
        """What its last hidden layer says, of shape (n, units)."""
        x = pictures
        for layer in self.network.layers[:-1]:
            x = layer.forward(x)
        return x

    def distance(self, pictures: Array, real: Array) -> float:
        """Fréchet distance of its ``features``."""
        return frechet(self.features(pictures), self.features(real))


def frechet(one: Array, other: Array) -> float:
    """|mean - mean|^2 + tr(A + B - 2 (A B)^1/2) of two sets of rows (n, width), taken as normal with covariances A and
    B: 0 when both agree. The trace of the root is the sum of the roots of the eigenvalues of A^1/2 B A^1/2."""
    one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    a, b = np.atleast_2d(np.cov(one.T)), np.atleast_2d(np.cov(other.T))
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * shared)


def nearest(pictures: Array, real: Array) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Euclidean distance of each to its nearest of ``real``, and which that is."""
    a, b = pictures.reshape(len(pictures), -1).astype(np.float64), real.reshape(len(real), -1).astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    at = squares.argmin(1)
    return np.sqrt(np.maximum(squares[np.arange(len(a)), at], 0)), at


@dataclass(frozen=True, slots=True)
class Novelty:
    """Median distance of made and of held-out pictures to the nearest training picture; ``copies``: the share of the
    made ones that are nearer than 99% of the held-out ones are (0.01 is what real pictures give)."""

    made: float
    held: float
    copies: float


def novelty(made: Array, training: Array, held: Array) -> Novelty:
    """Compare how near ``made`` and ``held`` pictures are to ``training``."""
    off, true = nearest(made, training)[0], nearest(held, training)[0]
    return Novelty(float(np.median(off)), float(np.median(true)), float((off < np.quantile(true, 0.01)).mean()))
