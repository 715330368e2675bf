"""Does noise taken out again make digits, and days of a service?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.baselines.linear import regress
from rung.foundations.generative.diffusion import Diffusion, DiffusionPlan, NoiseSchedule, train
from rung.foundations.generative.judge import Novelty, PictureJudge, frechet, novelty
from rung.foundations.generative.png import curves, png, sheet
from rung.foundations.network.convolution import digits, shifted
from rung.foundations.network.layers import Array
from rung.foundations.network.training import FitPlan
from rung.ladder.view.numbers import exact
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.network.series import REQUESTS, load_series
from rung.studies.lab.outcome import mean, saved
from rung.studies.study import Lab


@dataclass(frozen=True, slots=True)
class Sampled:
    """1,000 digits made in so many ``steps``: the judge's ``agreement``, Fréchet ``distance`` from held-out digits, CPU
    seconds."""

    steps: int
    agreement: Interval
    distance: float
    cpu: float


@dataclass(frozen=True, slots=True)
class SeriesSampled:
    """Windows of a series that were made: Fréchet distance of the steps and of their changes from held-out windows,
    ``floor`` that of training windows, ``noise`` that of normal noise of the same mean and variance; ``told``: accuracy
    of logistic regression that tells made windows from held-out ones by both (0.5 is chance)."""

    series: str
    windows: int
    distance: float
    floor: float
    noise: float
    told: Interval
    cpu: float


@dataclass(frozen=True, slots=True)
class DiffusionFound:
    """``forward``: the largest difference of mean and of variance, over pixels and steps, between the chain of steps
    and the closed form, on ``repeated`` copies of a digit."""

    mean: float
    variance: float
    repeated: int
    floor: float
    real: Interval
    cpu: float
    samples: tuple[Sampled, ...]
    novelty: Novelty
    series: SeriesSampled
    files: tuple[str, ...]


@dataclass(frozen=True)
class DiffuseDigits(Experiment[DiffusionFound]):
    """Check the forward process against its closed form, train a diffusion model of written digits and one of windows
    of a series, and let classifiers judge what they make, in many steps and in few."""

    name = "diffusion"
    records = DiffusionFound
    title = "Diffusion: forward, reverse, and a series"
    ideas = ("generative.diffusion", "generative.judge")

    source: str = argument("A file with one number a line, or `requests`, for the series.", "SERIES", REQUESTS)
    steps: int = option(4000, "Steps of training; the series takes half.", low=100)
    window: int = option(48, "Numbers of a window of the series.", low=8)
    every: int = option(3, "A window takes every so many steps of the series.", low=1)
    out: str = option("", "Folder for PNG files of what was made.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> DiffusionFound:
        """Raises InputError for a series that is too short, and a folder that cannot be written."""
        windows = self._windows()
        (pictures, labels), (held, truth) = digits(self.seed)
        lab.progress(Progress(self.name, 0, 3, "forward"))
        off, spread, repeated = self._forward(pictures[0].ravel() * 2 - 1)
        lab.progress(Progress(self.name, 1, 3, "digits"))
        judge = PictureJudge.fit(pictures, labels, FitPlan(40, batch=32, rate=3e-3, seed=self.seed, change=shifted))
        with timed() as clock:
            plan = DiffusionPlan(self.steps, seed=self.seed)
            model = train(pictures.reshape(len(pictures), -1) * 2 - 1, labels, plan)
        asked = np.arange(1000) % 10
        rows, made = [], pictures[:0]
        for steps in (0, 50, 10, 5):
            with timed() as sampling:
                some = as_pictures(model, asked, self.seed, steps)
            made = made if len(made) else some
            agreement = mean(judge.agrees(some, asked))
            rows.append(Sampled(steps or model.schedule.steps, agreement, judge.distance(some, held), sampling.cpu))
        lab.progress(Progress(self.name, 2, 3, "series"))
        series, drawn = self._series(*windows)
        return DiffusionFound(
            off,
            spread,
            repeated,
            judge.distance(pictures[: len(held)], held),
            mean(judge.agrees(held, truth)),
            clock.cpu,
            tuple(rows),
            novelty(made, pictures, held),
            series,
            saved(self.out, "diffusion.png", png(sheet(made[:100])))
            + saved(self.out, "diffusion-series.png", png(curves(drawn[:12]))),
        )

    def _forward(self, digit: Array, repeated: int = 100_000) -> tuple[float, float, int]:
        rng, schedule, off, spread = np.random.default_rng(self.seed), NoiseSchedule.cosine(50), 0.0, 0.0
        x, kept = np.tile(digit[16:24].astype(np.float64), (repeated, 1)), schedule.kept
        for t in (10, 25, 50):
            noised = schedule.chain(x, t, rng)
            off = max(off, float(np.abs(noised.mean(0) - np.sqrt(kept[t]) * digit[16:24]).max()))
            spread = max(spread, float(np.abs(noised.var(0).mean() - (1 - kept[t]))))
        return off, spread, repeated

    def _windows(self) -> tuple[Array, Array]:
        """Windows to learn from and held-out ones behind them, each scaled to -1 to 1 by its own least and largest
        value."""
        values, wide = load_series(self.source), self.window * self.every
        if len(values) < 4 * wide:
            raise InputError(
                f"got a series of {len(values)} steps, expected at least {4 * wide}",
                remedy="give a longer series, or lower --window or --every",
                code="short-series",
            )
        cut = int(0.7 * len(values))
        parts = []
        for some in (values[:cut], values[cut:]):
            rows = sliding_window_view(some, wide)[:, :: self.every]
            low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
            parts.append(2 * (rows - low) / np.maximum(high - low, 1e-9) - 1)
        return parts[0], parts[1]

    def _series(self, training: Array, held: Array) -> tuple[SeriesSampled, Array]:
        with timed() as clock:
            model = train(training, None, DiffusionPlan(self.steps // 2, units=192, seed=self.seed))
            made = model.sample(np.zeros(600, np.int64), self.seed)
        noise = np.random.default_rng(self.seed).normal(training.mean(), training.std(), made.shape)
        seen, asked, floor, plain = (_shape(rows) for rows in (made, held, training, noise))
        half, count = len(made) // 2, min(len(held), len(made))
        rows = np.concatenate([seen[:count], asked[np.linspace(0, len(asked) - 1, count).astype(int)]])
        truth = np.repeat([1, 0], count)
        order = np.random.default_rng(self.seed).permutation(len(truth))
        tried, rest = order[: half // 2], order[half // 2 :]
        told = regress(rows[rest], truth[rest]).predict(rows[tried]) == truth[tried]
        found = SeriesSampled(
            self.source,
            len(training),
            frechet(seen, asked),
            frechet(floor, asked),
            frechet(plain, asked),
            mean(told),
            clock.cpu,
        )
        return found, made

    def table(self, found: DiffusionFound) -> str:
        head = (
            f"Forward: {found.repeated:,} chains of a digit are off the closed form by at most {found.mean:.4f} (mean) and "
            f"{found.variance:.4f} (variance)."
        )
        lines = [["steps", "seen as what was asked for", "Fréchet distance", "CPU s for 1,000"]]
        lines += [
            [str(row.steps), exact(row.agreement), f"{row.distance:.2f}", f"{row.cpu:.2f}"] for row in found.samples
        ]
        lines.append(["real", exact(found.real), f"{found.floor:.2f}", ""])
        near = found.novelty
        middle = (
            f"{found.cpu:.1f} CPU s of training. Distance to the nearest training digit {near.made:.2f}, of held-out digits "
            f"{near.held:.2f}; {near.copies:.1%} are nearer than 99% of those."
        )
        made = found.series
        foot = (
            f"Series: {made.windows} windows of {made.series}, {made.cpu:.1f} CPU s. Fréchet distance from held-out windows "
            f"{made.distance:.2f} (training windows {made.floor:.2f}, noise {made.noise:.2f}); logistic regression tells them from "
            f"held-out ones with accuracy {exact(made.told)}."
        )
        return "\n\n".join([head, align(lines), middle, foot, *found.files])


def _shape(rows: Array) -> Array:
    """Steps and their changes."""
    return np.concatenate([rows, np.diff(rows, axis=1)], 1)


def as_pictures(model: Diffusion, labels: Array, seed: int, steps: int) -> Array:
    """Digits of a diffusion model as pictures from 0 to 1."""
    rows = np.clip(model.sample(labels, seed, steps) / 2 + 0.5, 0, 1)
    return rows.reshape(-1, 8, 8, 1).astype(np.float32)
