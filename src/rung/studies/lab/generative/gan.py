"""Do a generator's digits pass for digits, and do they help a classifier that has few?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.generative.gan import Gan, GanLook, GanPlan, train
from rung.foundations.generative.judge import Novelty, PictureJudge, novelty
from rung.foundations.generative.png import png, sheet
from rung.foundations.network.convolution import digits, learn, shifted
from rung.foundations.network.layers import Array
from rung.foundations.network.training import FitPlan
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.outcome import gain, mean, saved
from rung.studies.study import Lab


@dataclass(frozen=True, slots=True)
class Augmented:
    """A classifier of ``n`` real digits and what was added: accuracy on held-out digits, averaged over draws, and the
    paired difference from the real ones alone."""

    added: str
    accuracy: Interval
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class GanFound:
    """``agreement``: a judge trained on real digits sees the class that was asked for; ``real``: in held-out real ones.
    ``distance``: Fréchet distance of its features from held-out ones, ``floor`` that of as many training ones.
    ``failure`` says of a training at ``failing`` times the rate how it was stopped."""

    agreement: Interval
    real: Interval
    distance: float
    floor: float
    novelty: Novelty
    looks: tuple[GanLook, ...]
    best: int
    stopped: str
    failing: float
    failure: str
    cpu: float
    few: int
    augmented: tuple[Augmented, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class AdversarialDigits(Experiment[GanFound]):
    """Train a GAN on written digits, let a classifier judge what it makes, watch one that goes wrong being stopped, and
    ask whether a GAN of few digits helps a classifier of the same few."""

    name = "gan"
    records = GanFound
    title = "Generative adversarial networks, and augmentation"
    ideas = ("generative.gan", "generative.judge", "generative.png")

    steps: int = option(6000, "Steps of training.", low=10)
    few: int = option(100, "Real digits of the augmentation test.", low=20, high=1000)
    draws: int = option(3, "Draws of those few, each with a GAN of its own.", low=1)
    failing: float = option(300.0, "Times the rate of the training that is to go wrong.", low=1)
    out: str = option("", "Folder for a PNG file of what it made.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> GanFound:
        """Raises InputError for a folder that cannot be written."""
        (pictures, labels), (held, truth) = digits(self.seed)
        lab.progress(Progress(self.name, 0, 3, "judge"))
        judge = PictureJudge.fit(pictures, labels, FitPlan(40, batch=32, rate=3e-3, seed=self.seed, change=shifted))
        lab.progress(Progress(self.name, 1, 3, "gan"))
        plan = GanPlan(self.steps, seed=self.seed)
        with timed() as clock:
            gan = train(pictures, labels, plan)
        asked = np.arange(1000) % 10
        made = gan.sample(asked, self.seed)
        with np.errstate(all="ignore"):
            wrong = train(pictures, labels, GanPlan(self.steps, rate=plan.rate * self.failing, seed=self.seed))
        lab.progress(Progress(self.name, 2, 3, "augmentation"))
        return GanFound(
            mean(judge.agrees(made, asked)),
            mean(judge.agrees(held, truth)),
            judge.distance(made, held),
            judge.distance(pictures[: len(held)], held),
            novelty(made, pictures, held),
            tuple(gan.looks),
            gan.best,
            gan.stopped,
            self.failing,
            f"{wrong.stopped or 'was not stopped'}; kept: step {wrong.best}",
            clock.cpu,
            self.few,
            self._augmented(pictures, labels, (held, truth)),
            saved(self.out, "gan.png", png(sheet(made[:100]))),
        )

    def _augmented(self, pictures: Array, labels: Array, held: tuple[Array, Array]) -> tuple[Augmented, ...]:
        """Each arm's hits on the held-out digits, averaged over draws of the few."""
        hits: dict[str, list[Array]] = {"nothing": [], "shifts": [], "GAN": [], "GAN and shifts": []}
        for draw in range(self.draws):
            rows = np.random.default_rng((self.seed, draw)).choice(len(labels), self.few, replace=False)
            some, named = pictures[rows], labels[rows]
            gan = train(some, named, GanPlan(self.steps // 3, batch=32, seed=draw))
            more = _like(gan, np.resize(named, 3 * self.few), draw)
            for name, total in hits.items():
                x, y = (
                    (np.concatenate(pair) for pair in ((some, more[0]), (named, more[1])))
                    if name.startswith("GAN")
                    else (some, named)
                )
                # As many steps for each arm: the larger set is passed over fewer times.
                epochs = max(1, 200 * self.few // len(y))
                change_ = shifted if name.endswith("shifts") else None
                network = learn(x, y, FitPlan(epochs, batch=32, rate=3e-3, seed=draw, change=change_))
                total.append(network.predict(held[0]).argmax(1) == held[1])
        scores = {name: np.mean(total, 0) for name, total in hits.items()}
        plain = scores["nothing"]
        return tuple(
            Augmented(name, mean(values), None if name == "nothing" else gain(values, plain))
            for name, values in scores.items()
        )

    def table(self, found: GanFound) -> str:
        looks = [["step", "critic right", "distance", "spread"]]
        looks += [
            [str(look.step), f"{look.critic:.2f}", f"{look.distance:.2f}", f"{look.spread:.2f}"]
            for look in found.looks[:: max(1, len(found.looks) // 8)]
        ]
        lines = [
            ["what was made is seen as what was asked for", exact(found.agreement)],
            ["  real digits that were held out", exact(found.real)],
            ["Fréchet distance from held-out digits", f"{found.distance:.2f}"],
            ["  of training digits", f"{found.floor:.2f}"],
            ["distance to the nearest training digit", f"{found.novelty.made:.2f}"],
            ["  of held-out digits", f"{found.novelty.held:.2f}"],
            ["nearer than 99% of held-out digits", f"{found.novelty.copies:.1%}"],
        ]
        arms = [[f"{found.few} digits and", "accuracy", "to nothing"]]
        arms += [
            [row.added, exact(row.accuracy), change(row.difference) if row.difference else ""]
            for row in found.augmented
        ]
        end = found.stopped or "trained to its end"
        said = [
            f"The GAN {end}; kept: step {found.best}. {found.cpu:.1f} CPU s.",
            f"At {found.failing:g} times the rate the training {found.failure}.",
        ]
        return "\n\n".join([align(looks), " ".join(said), align(lines), align(arms), *found.files])


def _like(gan: Gan, labels: Array, seed: int) -> tuple[Array, Array]:
    return gan.sample(labels, seed), labels
