"""Where is it, and which pixels are it? Detection and segmentation, on drawn scenes whose truth is known.

A scene is a grey picture with noise and one to three shapes: a disc, a square, a ring. The detector answers for each
cell of a coarse grid at once: is there the middle of a shape, of which kind, where exactly and how large (YOLO's first
form, Redmon et al. 2016); what overlaps a surer box of its kind is dropped. The segmenter answers for each pixel, from
a small picture of features that is made large again (Long et al. 2015). Both are judged by intersection over union
(IoU): the share of the area of either that is in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.foundations.network.convolution import Convolution, Double, MaxPool
from rung.foundations.network.layers import Array, Relu, sigmoid
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.training import cross_entropy

KINDS = ("disc", "square", "ring")
STRIDE = 4
"""Pixels of a side of a detector's cell."""


@dataclass(frozen=True)
class Scenes:
    """``pictures`` (n, size, size, 1) float32; ``boxes``: for each its shapes as rows kind, left, top, right, bottom
    (pixels); ``masks`` (n, size, size): 0 for the ground, else kind + 1."""

    pictures: NDArray[np.float32]
    boxes: list[Array]
    masks: NDArray[np.int64]


def scenes(n: int, size: int = 24, seed: int = 0) -> Scenes:
    """``n`` scenes. Shapes may touch, not cover each other. Raises InputError for a size that is no multiple of 4 or
    under 16."""
    if size % STRIDE or size < 16:
        raise InputError(f"got pictures of {size} x {size}", remedy="take a multiple of 4, at least 16", code="shape")
    rng = np.random.default_rng(seed)
    pictures, masks, boxes = np.empty((n, size, size, 1), np.float32), np.zeros((n, size, size), np.int64), []
    down, right = np.mgrid[:size, :size] + 0.5
    for at in range(n):
        picture, found = np.full((size, size), rng.uniform(0.0, 0.4)), []
        for _ in range(rng.integers(1, 4)):
            radius = rng.uniform(size / 8, size / 4.5)
            x, y = rng.uniform(radius, size - radius, 2)
            kind = int(rng.integers(len(KINDS)))
            off = np.maximum(abs(down - y), abs(right - x)) if kind == 1 else np.hypot(down - y, right - x)
            inside = off <= radius
            if masks[at][inside].any():
                continue
            drawn = inside & (off >= 0.5 * radius) if kind == 2 else inside
            picture[drawn] = rng.uniform(0.6, 1.0)
            masks[at][drawn] = kind + 1
            rows, columns = np.nonzero(drawn)
            found.append((kind, columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        pictures[at, :, :, 0] = picture + rng.normal(0, 0.08, picture.shape)
        boxes.append(np.array(found, float).reshape(-1, 5))
    return Scenes(pictures, boxes, masks)


# ---------------------------------------------------------------- detection


def detector(size: int, width: int = 16, seed: int = 0) -> NeuralNetwork:
    """Pictures (size, size, 1) -> cells (size/4, size/4, 5 + kinds): is there one, its middle and size, its kind."""
    layers = [Convolution(width), Relu(), MaxPool(), Convolution(2 * width), Relu(), MaxPool()]
    layers += [Convolution(3 * width), Relu(), Convolution(3 * width), Relu(), Convolution(5 + len(KINDS), 1)]
    return NeuralNetwork(layers, (size, size, 1), seed)


def cells(boxes: Sequence[Array], size: int) -> Array:
    """What a detector should say: (n, size/4, size/4, 6) of there (0 or 1), middle right and down within the cell (0 to
    1), log2 of width and height in cells, kind."""
    grid = size // STRIDE
    out = np.zeros((len(boxes), grid, grid, 6), np.float32)
    for at, rows in enumerate(boxes):
        for kind, left, top, right, bottom in rows:
            x, y = (left + right) / 2 / STRIDE, (top + bottom) / 2 / STRIDE
            column, row = min(int(x), grid - 1), min(int(y), grid - 1)
            wide, high = np.log2((right - left) / STRIDE), np.log2((bottom - top) / STRIDE)
            out[at, row, column] = 1, x - column, y - row, wide, high, kind
    return out


def detection_loss(outputs: Array, wanted: Array) -> tuple[float, Array]:
    """Cross-entropy of "there" over all cells, squared error of the box and cross-entropy of the kind over those with a
    shape; each a mean over shapes."""
    there = wanted[..., 0]
    shapes = max(1.0, float(there.sum()))
    slope = np.zeros_like(outputs)
    odds = outputs[..., 0]
    loss = (np.maximum(odds, 0) - odds * there + np.log1p(np.exp(-np.abs(odds)))).sum() / shapes
    slope[..., 0] = (sigmoid(odds) - there) / shapes
    off = (outputs[..., 1:5] - wanted[..., 1:5]) * there[..., None]
    slope[..., 1:5] = 2 * 4 * off / shapes
    named, slope[..., 5:] = cross_entropy(outputs[..., 5:], np.where(there > 0, wanted[..., 5], -1).astype(np.int64))
    return float(loss + 4 * (off**2).sum() / shapes + named), slope


def detect(outputs: Array, threshold: float = 0.5, overlap: float = 0.4) -> list[Array]:
    """What a detector's outputs say: for each picture rows of probability, kind, left, top, right, bottom, surest
    first."""
    found = []
    for cell in outputs:
        probability = sigmoid(cell[..., 0])
        rows, columns = np.nonzero(probability >= threshold)
        dx, dy, wide, high = cell[rows, columns, 1:5].T
        x, y = (columns + dx) * STRIDE, (rows + dy) * STRIDE
        half, tall = 2.0 ** np.clip(wide, -4, 4) * STRIDE / 2, 2.0 ** np.clip(high, -4, 4) * STRIDE / 2
        kind = cell[rows, columns, 5:].argmax(-1) if len(rows) else np.zeros(0)
        boxes = np.stack([probability[rows, columns], kind, x - half, y - tall, x + half, y + tall], 1)
        kept: list[Array] = []
        for box in boxes[np.argsort(-boxes[:, 0], kind="stable")]:
            if all(other[1] != box[1] or iou(other[2:], box[2:]) < overlap for other in kept):
                kept.append(box)
        found.append(np.array(kept).reshape(-1, 6))
    return found


def iou(one: Array, other: Array) -> float:
    """Intersection over union of two boxes left, top, right, bottom; 0 where both are empty."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    either = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return float(shared / either) if either > 0 else 0.0


def matched(found: Sequence[Array], truth: Sequence[Array]) -> list[float]:
    """For each true shape the IoU of the box that was matched to it: surest first, of the same kind, the best that is
    free; 0 where there is none."""
    values = []
    for boxes, rows in zip(found, truth, strict=True):
        free, best = list(range(len(rows))), [0.0] * len(rows)
        for box in boxes:
            same = [(iou(box[2:], rows[at][1:]), at) for at in free if rows[at][0] == box[1]]
            value, at = max(same, default=(0.0, -1))
            if value > 0:
                best[at] = value
                free.remove(at)
        values += best
    return values


# ---------------------------------------------------------------- segmentation


def segmenter(size: int, width: int = 16, seed: int = 0) -> NeuralNetwork:
    """Pictures (size, size, 1) -> logits of ground and kinds for each pixel."""
    layers = [Convolution(width), Relu(), MaxPool(), Convolution(2 * width), Relu(), Convolution(2 * width), Relu()]
    layers += [Double(), Convolution(width), Relu(), Convolution(1 + len(KINDS), 1)]
    return NeuralNetwork(layers, (size, size, 1), seed)


def mask_iou(found: Array, truth: Array) -> list[float]:
    """IoU of the pixels of each kind that a picture has, in truth or as found; both masks are of shape (n, height,
    width)."""
    values = []
    for mask, true in zip(found, truth, strict=True):
        for kind in range(1, len(KINDS) + 1):
            either = ((mask == kind) | (true == kind)).sum()
            if either:
                values.append(float(((mask == kind) & (true == kind)).sum() / either))
    return values
