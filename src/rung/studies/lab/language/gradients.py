"""Gradient descent: every operation's slope against finite differences, then a network that learns XOR by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.foundations.network.tape import Traced, differences
from rung.ladder.view.numbers import bar
from rung.studies.lab.experiment import Experiment
from rung.studies.study import Lab

Loss = Callable[[Traced, Traced], Traced]
OPERATIONS: dict[str, Loss] = {
    "a + b": lambda a, b: (a + b).sum(),
    "a + row": lambda a, b: ((a + Traced(b.value[:1], ((b, _first),))) * a).sum(),
    "a - b": lambda a, b: ((a - b) * a).sum(),
    "a * b": lambda a, b: (a * b).sum(),
    "a / b": lambda a, b: (a / b).sum(),
    "a @ b": lambda a, b: ((a @ b) * (a @ b)).sum(),
    "a ** 3": lambda a, b: (a.power(3) * b).sum(),
    "exp": lambda a, b: (a.exp() * b).sum(),
    "log": lambda a, b: (a.log() * b).sum(),
    "tanh": lambda a, b: (a.tanh() * b).sum(),
    "sigmoid": lambda a, b: (a.sigmoid() * b).sum(),
    "relu": lambda a, b: ((a - b).relu() * b).sum(),
    "mean": lambda a, b: (a * b).mean(),
    "softmax": lambda a, b: (a.softmax() * b).sum(),
    "cross entropy": lambda a, b: (a @ b).cross_entropy([0, 2, 1]),
    "a used twice": lambda a, b: (a * a * b + a).sum(),
}


def _first(
    slope: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    whole = np.zeros((3, 3))
    whole[:1] = slope
    return whole


@dataclass(frozen=True, slots=True)
class CheckedGradient:
    """The largest distance of an operation's slopes from finite differences, divided by the largest slope or 1."""

    operation: str
    apart: float


@dataclass(frozen=True, slots=True)
class GradientDescent:
    """``losses`` of every tenth part of the descent; ``answers`` of the network for 00, 01, 10 and 11."""

    checked: tuple[CheckedGradient, ...]
    losses: tuple[float, ...]
    answers: tuple[float, ...]


@dataclass(frozen=True)
class GradientCheck(Experiment[GradientDescent]):
    """Hold every operation's gradient against finite differences, then learn XOR by gradient descent."""

    name = "gd"
    records = GradientDescent
    title = "Gradient descent"
    ideas = ("network.tape",)

    steps: int = option(1000, "Steps of the descent.", low=10)
    rate: float = option(0.5, "How far against the slope each step goes.", low=0.0)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> GradientDescent:
        rng = np.random.default_rng(self.seed)
        checked = tuple(CheckedGradient(name, check(loss, rng)) for name, loss in OPERATIONS.items())
        losses, answers = descend(self.steps, self.rate, rng)
        return GradientDescent(checked, losses, answers)

    def table(self, found: GradientDescent) -> str:
        lines = [["operation", "apart"], *([row.operation, f"{row.apart:.1e}"] for row in found.checked)]
        worst = max(row.apart for row in found.checked)
        most = max(*found.losses, 1e-12)
        fall = [f"{loss:8.5f} {bar(loss / most, 40)}" for loss in found.losses]
        said = ", ".join(
            f"{place} {answer:.3f}" for place, answer in zip(("00", "01", "10", "11"), found.answers, strict=True)
        )
        return (
            f"{align(lines)}\n\nall within {worst:.1e} of finite differences (64-bit floats)\n\n"
            "loss of a network that learns XOR:\n" + "\n".join(fall) + f"\nit answers {said}"
        )


def check(loss: Loss, rng: np.random.Generator) -> float:
    a, b = (Traced(rng.uniform(0.5, 2, (3, 3))) for _ in range(2))
    loss(a, b).backward()
    worst = 0.0
    for one in (a, b):
        wanted = differences(lambda: float(loss(a, b).value), one.value)
        worst = max(worst, float(np.abs(one.slope - wanted).max() / max(1, np.abs(wanted).max())))
    return worst


def descend(steps: int, rate: float, rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    x, wanted = Traced(np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])), Traced(np.array([[0], [1], [1], [0.0]]))
    weights = [Traced(rng.normal(size=shape)) for shape in ((2, 8), (1, 8), (8, 1), (1, 1))]
    losses: list[float] = []
    for step in range(steps + 1):
        one, first, two, second = weights
        said = ((x @ one + first).tanh() @ two + second).sigmoid()
        loss = (said - wanted).power(2).mean()
        if step % (steps // 10) == 0:
            losses.append(float(loss.value))
        for value in weights:
            value.slope = np.zeros_like(value.value)
        loss.backward()
        for value in weights:
            value.value = value.value - rate * value.slope
    return tuple(losses), tuple(float(answer) for answer in said.value.ravel())
