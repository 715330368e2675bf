"""What is in a picture, where is it, and which pixels are it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.baselines.linear import regress
from rung.foundations.generative.png import png, sheet
from rung.foundations.network.convolution import digits, learn, shifted
from rung.foundations.network.layers import Array
from rung.foundations.network.scenes import (
    Scenes,
    cells,
    detect,
    detection_loss,
    detector,
    mask_iou,
    matched,
    scenes,
    segmenter,
)
from rung.foundations.network.training import FitPlan, cross_entropy, fit
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.outcome import gain, mean, saved
from rung.studies.study import Lab


@dataclass(frozen=True, slots=True)
class Vision:
    """``digits``: accuracy on held-out digits, ``linear`` that of logistic regression on their pixels, ``difference``
    between them. ``boxes``: mean IoU of the true shapes' boxes (0 where none was found); ``recall`` and ``precision``
    at an IoU of a half; ``masks``: mean IoU of the pixels of each kind. ``cpu``: seconds of each training."""

    n: int
    digits: Interval
    linear: Interval
    difference: Difference
    scenes: int
    boxes: Interval
    recall: Interval
    precision: float
    masks: Interval
    cpu: dict[str, float]
    files: tuple[str, ...]


@dataclass(frozen=True)
class SeePictures(Experiment[Vision]):
    """Train convolutional networks to name scikit-learn's written digits, to find the shapes of drawn scenes as boxes,
    and to say of each pixel which shape it belongs to."""

    name = "vision"
    records = Vision
    title = "Convolution: classification, detection, segmentation"
    ideas = ("network.convolution", "network.scenes")

    epochs: int = option(60, "Passes over the digits.", low=1)
    drawn: int = option(1500, "Scenes to learn from.", low=10)
    passes: int = option(30, "Passes over the scenes of the detector; the segmenter takes a third.", low=3)
    size: int = option(24, "Pixels of a side of a scene, a multiple of 4.", low=16)
    out: str = option("", "Folder for PNG files: scenes with the boxes and pixels that were found.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> Vision:
        """Raises InputError for a size that is none, and a folder that cannot be written."""
        seen, asked = scenes(self.drawn, self.size, self.seed), scenes(300, self.size, self.seed + 1)
        (pictures, labels), (held, truth) = digits(self.seed)
        cpu = {}
        lab.progress(Progress(self.name, 0, 3, "digits"))
        with timed() as clock:
            plan = FitPlan(self.epochs, batch=32, rate=3e-3, seed=self.seed, change=shifted)
            right = learn(pictures, labels, plan, width=32).predict(held).argmax(1) == truth
        cpu["digits"] = clock.cpu
        linear = regress(pictures.reshape(len(pictures), -1), labels).predict(held.reshape(len(held), -1)) == truth
        lab.progress(Progress(self.name, 1, 3, "detection"))
        with timed() as clock:
            finder = detector(self.size, seed=self.seed)
            plan = FitPlan(self.passes, batch=32, rate=3e-3, seed=self.seed)
            fit(finder, (seen.pictures, cells(seen.boxes, self.size)), detection_loss, plan)
        cpu["detection"] = clock.cpu
        found = detect(finder.predict(asked.pictures))
        best = matched(found, asked.boxes)
        hits = [value >= 0.5 for value in best]
        lab.progress(Progress(self.name, 2, 3, "segmentation"))
        with timed() as clock:
            masker = segmenter(self.size, seed=self.seed)
            plan = FitPlan(self.passes // 3, batch=16, rate=4e-3, seed=self.seed)
            fit(masker, (seen.pictures, seen.masks), cross_entropy, plan)
        cpu["segmentation"] = clock.cpu
        masks = masker.predict(asked.pictures).argmax(-1)
        shown = png(_drawn(asked, found, masks))
        made = sum(map(len, found))
        return Vision(
            len(truth),
            mean(right),
            mean(linear),
            gain(right, linear),
            len(asked.boxes),
            mean(best),
            mean(hits),
            sum(hits) / made if made else 0.0,
            mean(mask_iou(masks, asked.masks)),
            cpu,
            saved(self.out, "scenes.png", shown),
        )

    def table(self, found: Vision) -> str:
        lines = [
            ["", "", "CPU s"],
            [f"digits, accuracy on {found.n}", exact(found.digits), f"{found.cpu['digits']:.1f}"],
            ["  logistic regression on pixels", exact(found.linear), ""],
            ["  difference", change(found.difference), ""],
            [f"boxes in {found.scenes} scenes, IoU", exact(found.boxes), f"{found.cpu['detection']:.1f}"],
            ["  found with an IoU of a half", exact(found.recall), ""],
            ["  of the boxes said, right", f"{found.precision:.3f}", ""],
            ["pixels of a kind, IoU", exact(found.masks), f"{found.cpu['segmentation']:.1f}"],
        ]
        return "\n\n".join([align(lines), *found.files])


def _drawn(asked: Scenes, found: list[Array], masks: Array, count: int = 8, zoom: int = 6) -> Array:
    """The first scenes, beneath them with the boxes that were found, and the kinds of their pixels as greys."""
    plain = sheet(np.clip(asked.pictures[:count], 0, 1), count, zoom)
    boxed, cell = plain.copy(), (asked.pictures.shape[1] + 1) * zoom
    for at, boxes in enumerate(found[:count]):
        for _, _, left, top, right, bottom in boxes:
            edge = (cell - zoom) - 1
            x0, x1 = (int(np.clip(v * zoom, 0, edge)) + at * cell for v in (left, right))
            y0, y1 = (int(np.clip(v * zoom, 0, edge)) for v in (top, bottom))
            boxed[y0 : y1 + 1, [x0, x1]] = 255
            boxed[[y0, y1], x0 : x1 + 1] = 255
    kinds = sheet(masks[:count, :, :, None] / 3, count, zoom)
    return np.concatenate([plain, np.zeros_like(plain[:zoom]), boxed, np.zeros_like(plain[:zoom]), kinds])
