"""Boxes and masks of drawn scenes, how they are judged, and that both networks learn."""

from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.foundations.network.convolution import shifted
from rung.foundations.network.scenes import (
    KINDS,
    cells,
    detect,
    detection_loss,
    detector,
    iou,
    mask_iou,
    matched,
    scenes,
    segmenter,
)
from rung.foundations.network.training import FitPlan, cross_entropy, fit


def test_iou() -> None:
    box = np.array([0.0, 0, 4, 2])
    assert iou(box, box) == 1
    assert iou(box, np.array([2.0, 0, 6, 2])) == pytest.approx(4 / 12)
    assert iou(box, np.array([4.0, 0, 8, 2])) == 0
    assert iou(np.zeros(4), np.zeros(4)) == 0


def test_true_cells_give_the_true_boxes_back() -> None:
    drawn = scenes(40, 24, seed=3)
    wanted = cells(drawn.boxes, 24)
    kinds = np.eye(len(KINDS))[wanted[..., 5].astype(int)] * 9
    found = detect(np.concatenate([wanted[..., :1] * 20 - 10, wanted[..., 1:5], kinds], -1))
    values = matched(found, drawn.boxes)
    assert len(values) == sum(map(len, drawn.boxes))
    # Two middles in one cell are the only thing that a grid cannot say.
    assert np.mean(np.array(values) > 0.99) > 0.9
    assert matched([np.empty((0, 6))] * 40, drawn.boxes) == [0.0] * len(values)


def test_masks_lie_in_their_boxes() -> None:
    drawn = scenes(20, 24, seed=4)
    for mask, boxes in zip(drawn.masks, drawn.boxes, strict=True):
        for kind, left, top, right, bottom in boxes.astype(int):
            inside = mask[top:bottom, left:right]
            assert (inside == kind + 1).sum() > 0.3 * inside.size
    assert mask_iou(drawn.masks, drawn.masks) == [1.0] * len(mask_iou(drawn.masks, drawn.masks))
    assert set(mask_iou(np.zeros_like(drawn.masks), drawn.masks)) == {0.0}


def test_the_slope_of_the_detection_loss_equals_a_finite_difference() -> None:
    rng = np.random.default_rng(0)
    wanted = cells(scenes(2, 16, seed=1).boxes, 16).astype(float)
    outputs = rng.normal(size=(2, 4, 4, 5 + len(KINDS)))
    slope = detection_loss(outputs, wanted)[1]
    for at in [(0, 0, 0, 0), *map(tuple, np.argwhere(wanted[..., 0] > 0)[:1].repeat(8, 0).tolist())]:
        place = (*at, int(rng.integers(8))) if len(at) == 3 else at
        moved = outputs.copy()
        moved[place] += 1e-6
        measured = (detection_loss(moved, wanted)[0] - detection_loss(outputs, wanted)[0]) / 1e-6
        assert measured == pytest.approx(slope[place], abs=1e-4)


def test_a_few_passes_teach_something() -> None:
    seen = scenes(150, 16, seed=0)
    finder, masker = detector(16, 8), segmenter(16, 8)
    found = fit(finder, (seen.pictures, cells(seen.boxes, 16)), detection_loss, FitPlan(4, batch=16, rate=4e-3))
    masks = fit(masker, (seen.pictures, seen.masks), cross_entropy, FitPlan(4, batch=16, rate=4e-3))
    assert found[-1] < 0.6 * found[0]
    assert masks[-1] < 0.6 * masks[0]


def test_a_shift_moves_by_one_pixel_at_most() -> None:
    pictures = np.zeros((30, 4, 4, 1))
    pictures[:, 0, 2] = 1
    moved = shifted(pictures, np.random.default_rng(0))
    assert set(moved.sum((1, 2, 3)).tolist()) == {0.0, 1.0}
    places = np.argwhere(moved[..., 0])[:, 1:]
    assert (np.abs(places - [0, 2]) <= 1).all()
    assert len(np.unique(places, axis=0)) > 3


@pytest.mark.parametrize("size", [10, 12, 25])
def test_sizes_that_a_grid_cannot_hold(size: int) -> None:
    with pytest.raises(InputError) as caught:
        scenes(1, size)
    assert caught.value.code == "shape"
