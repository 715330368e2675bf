"""Diffusion or a transformer: the same digits, made all at once in steps, or pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.generative.diffusion import DiffusionPlan
from rung.foundations.generative.diffusion import train as train_diffusion
from rung.foundations.generative.judge import Novelty, PictureJudge, novelty
from rung.foundations.generative.pixels import PixelTransformer
from rung.foundations.generative.png import png, sheet
from rung.foundations.language.training import TrainingPlan, size
from rung.foundations.network.convolution import digits, shifted
from rung.foundations.network.layers import Array
from rung.foundations.network.training import FitPlan
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.generative.diffusion import as_pictures
from rung.studies.lab.outcome import gain, mean, saved
from rung.studies.study import Lab


@dataclass(frozen=True, slots=True)
class DigitMaker:
    """A model of digits: the judge's ``agreement`` with what was asked for, its ``difference`` from the first row by
    label, Fréchet ``distance``, ``steps`` of a picture, CPU seconds of training and of making 1,000."""

    name: str
    parameters: int
    agreement: Interval
    difference: Difference | None
    distance: float
    novelty: Novelty
    steps: int
    training: float
    making: float


@dataclass(frozen=True, slots=True)
class Makers:
    """``floor``: Fréchet distance of real digits; ``real``: the judge on held-out ones."""

    real: Interval
    floor: float
    rows: tuple[DigitMaker, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class CompareMakers(Experiment[Makers]):
    """Train a diffusion model and a small transformer on the same written digits and compare them: how good, in how
    many steps, in what time."""

    name = "pixels"
    records = Makers
    title = "Diffusion against a transformer on the same data"
    ideas = ("generative.pixels", "generative.diffusion")

    steps: int = option(4000, "Steps of the diffusion model's training.", low=100)
    symbols: int = option(400, "Steps of the transformer's training.", low=10)
    few: int = option(10, "Steps in which the diffusion model makes pictures the second time.", low=1)
    out: str = option("", "Folder for PNG files of what was made.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> Makers:
        """Raises MissingExtra without torch, and InputError for a folder that cannot be written."""
        (pictures, labels), (held, truth) = digits(self.seed)
        asked = np.arange(1000) % 10
        lab.progress(Progress(self.name, 0, 3, "transformer"))
        with timed() as reading:
            transformer = PixelTransformer.train(pictures, labels, TrainingPlan(self.symbols, 4e-3, seed=self.seed))
        with timed() as writing:
            drawn = transformer.sample(asked, self.seed)
        lab.progress(Progress(self.name, 1, 3, "diffusion"))
        with timed() as clock:
            plan = DiffusionPlan(self.steps, seed=self.seed)
            model = train_diffusion(pictures.reshape(len(pictures), -1) * 2 - 1, labels, plan)
        lab.progress(Progress(self.name, 2, 3, "judge"))
        judge = PictureJudge.fit(pictures, labels, FitPlan(40, batch=32, rate=3e-3, seed=self.seed, change=shifted))
        first = judge.agrees(drawn, asked)
        makers: list[DigitMaker] = []
        files = saved(self.out, "transformer.png", png(sheet(drawn[:100])))

        def add(name: str, parameters: int, made: Array, steps: int, cost: tuple[float, float]) -> None:
            agreed = judge.agrees(made, asked)
            gap = gain(agreed, first) if makers else None
            near = novelty(made, pictures, held)
            makers.append(
                DigitMaker(name, parameters, mean(agreed), gap, judge.distance(made, held), near, steps, *cost)
            )

        add("transformer", size(transformer.model.weights), drawn, transformer.pixels, (reading.cpu, writing.cpu))
        for steps in (0, self.few):
            with timed() as making:
                made = as_pictures(model, asked, self.seed, steps)
            count = steps or model.schedule.steps
            add(f"diffusion, {count} steps", model.network.parameters, made, count, (clock.cpu, making.cpu))
            files += saved(self.out, f"diffusion-{count}.png", png(sheet(made[:100])))
        floor = judge.distance(pictures[: len(held)], held)
        return Makers(mean(judge.agrees(held, truth)), floor, tuple(makers), files)

    def table(self, found: Makers) -> str:
        lines = [["", "weights", "seen as asked", "to the first", "Fréchet", "copies", "steps", "training", "1,000"]]
        lines += [
            [
                row.name,
                f"{row.parameters:,}",
                exact(row.agreement),
                change(row.difference) if row.difference else "",
                f"{row.distance:.2f}",
                f"{row.novelty.copies:.1%}",
                str(row.steps),
                f"{row.training:.1f} s",
                f"{row.making:.2f} s",
            ]
            for row in found.rows
        ]
        lines.append(["real digits", "", exact(found.real), "", f"{found.floor:.2f}", "", "", "", ""])
        foot = "Seconds are CPU seconds. Copies are nearer to a training digit than 99% of held-out digits are."
        return "\n\n".join([align(lines), foot, *found.files])
