"""Small tasks that show one thing each: how far back a network remembers, what several heads and positions are for, how
an encoder and a decoder turn one text into another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score
from rung.foundations.language import tensors
from rung.foundations.language.position import KINDS as POSITIONS
from rung.foundations.language.recurrent import RecurrentModel
from rung.foundations.language.training import TrainingPlan, cross_entropy, fit, one_thread, size
from rung.foundations.language.transformer import DecoderModel, DecoderShape
from rung.ladder.view.numbers import change, exact
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, paired, share
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.study import Lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
"""Ids of shape (rows, length), and what the last place is to say, shape (rows,)."""
Draw = Callable[[np.random.Generator, int], Batch]
KINDS = ("rnn", "lstm", "gru", "transformer")
SYMBOLS = 8
BATCH = 64


def train(model: Any, draw: Draw, plan: TrainingPlan) -> None:
    """Train a model to say the last symbol."""
    torch = tensors()

    def batches() -> Iterator[Any]:
        rng = np.random.default_rng(plan.seed)
        for _ in range(plan.steps):
            yield tuple(torch.from_numpy(part) for part in draw(rng, BATCH))

    fit(model.weights, lambda batch: cross_entropy(model.logits(batch[0])[:, -1], batch[1]), batches(), plan)


def right(model: Any, draw: Draw, count: int, seed: int) -> NDArray[np.bool_]:
    """Which of ``count`` fresh rows it answers rightly."""
    torch = tensors()
    ids, wanted = draw(np.random.default_rng([seed, 99]), count)
    with torch.inference_mode(), one_thread():
        found: NDArray[np.bool_] = model.logits(torch.from_numpy(ids))[:, -1].argmax(-1).numpy() == wanted
    return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """``right`` of what was asked at each of ``distances``."""

    model: str
    parameters: int
    cpu: float
    right: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class CopyDistance:
    distances: tuple[int, ...]
    models: tuple[Remembered, ...]


def recall(far: int) -> Draw:
    """A symbol, then ``far`` others of the same set, then a sign: which symbol was the first? (a batch is of one
    distance, up to ``far`` where it is below 0) Others of another set are easy to tell from it: any network does."""

    def draw(rng: np.random.Generator, rows: int) -> Batch:
        length = int(rng.integers(1, -far + 1)) if far < 0 else far
        first = rng.integers(0, SYMBOLS, rows)
        noise = rng.integers(0, SYMBOLS, (rows, length))
        return np.concatenate([first[:, None], noise, np.full((rows, 1), 2 * SYMBOLS)], 1), first

    return draw


@dataclass(frozen=True)
class CopyTest(Experiment[CopyDistance]):
    """Ask networks for a symbol that they saw some steps ago, and see how far back each remembers."""

    name = "copy"
    records = CopyDistance
    title = "How far back a network remembers"
    ideas = ("language.recurrent",)

    models: tuple[str, ...] = argument(f"Which of {', '.join(KINDS)} (default: all).", "MODEL...", ())
    width: int = option(64, "Width of the recurrent layers, and of the transformer.", low=8)
    steps: int = option(1200, "Training steps of 64 rows, of distances from 1 to 50 at random.", low=1)
    count: int = option(400, "Rows that are asked at each distance.", low=10)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> CopyDistance:
        chosen = list(dict.fromkeys(self.models)) or list(KINDS)
        if unknown := [name for name in chosen if name not in KINDS]:
            raise InputError(
                f"there is no model {unknown[0]!r} here", remedy=f"choose of {', '.join(KINDS)}", code="model"
            )
        distances, rows = (1, 5, 10, 20, 50), []
        for done, name in enumerate(chosen):
            lab.progress(Progress(self.name, done, len(chosen), name))
            rows.append(await asyncio.to_thread(self._one, name, distances))
        return CopyDistance(distances, tuple(rows))

    def _one(self, kind: str, distances: tuple[int, ...]) -> Remembered:
        model: Any
        if kind == "transformer":
            model = DecoderModel.fresh(DecoderShape(17, self.width, 2, 4, 4, 2 * self.width), self.seed)
        else:
            model = RecurrentModel.fresh(kind, 17, 16, self.width, self.seed)
        with timed() as clock:
            train(model, recall(-50), TrainingPlan(self.steps, 2e-3 if kind == "rnn" else 5e-3, seed=self.seed))
        found = [right(model, recall(far), self.count, self.seed) for far in distances]
        return Remembered(kind, size(model.weights), clock.cpu, tuple(share(one) for one in found))

    def table(self, found: CopyDistance) -> str:
        lines = [["", "numbers", "CPU s", *(f"distance {far}" for far in found.distances)]]
        lines += [
            [row.model, f"{row.parameters:,}", f"{row.cpu:.1f}", *(exact(one) for one in row.right)]
            for row in found.models
        ]
        return f"{align(lines)}\n\nchance is {1 / SYMBOLS:.3f}"


@dataclass(frozen=True, slots=True)
class Ablated:
    """``difference`` in the share answered rightly, to the first of its task, on the same rows."""

    task: str
    kind: str
    parameters: int
    right: Interval
    difference: Difference | None


def order(rng: np.random.Generator, rows: int) -> Batch:
    """Two signs among noise: did the first come before the second? (1 or 0)"""
    ids = rng.integers(3, SYMBOLS, (rows, 12))
    places = np.argsort(rng.random((rows, 11)), 1)[:, :2]
    at = np.arange(rows)
    ids[at, places[:, 0]], ids[at, places[:, 1]], ids[:, -1] = 0, 1, 2
    return ids, (places[:, 0] < places[:, 1]).astype(np.int64)


def look_up(rng: np.random.Generator, rows: int) -> Batch:
    """Six keys, each with a value behind it; two keys are asked for at the end: their values' sum, modulo 8."""
    keys = np.argsort(rng.random((rows, SYMBOLS)), 1)[:, :6]
    values = rng.integers(0, SYMBOLS, (rows, 6))
    ids = np.stack([keys, values + SYMBOLS], 2).reshape(rows, 12)
    asked = np.argsort(rng.random((rows, 6)), 1)[:, :2]
    at = np.arange(rows)[:, None]
    wanted: NDArray[np.int64] = values[at, asked].sum(1) % SYMBOLS
    return np.concatenate([ids, keys[at, asked] + 2 * SYMBOLS], 1), wanted


@dataclass(frozen=True)
class Ablations(Experiment[tuple[Ablated, ...]]):
    """Take parts of attention away: one head instead of four at equal parameters, and each way of telling positions."""

    name = "heads"
    records = tuple[Ablated, ...]
    title = "What heads and positions are for"
    ideas = ("language.attention", "language.position")

    steps: int = option(600, "Training steps of 64 rows.", low=1)
    count: int = option(1000, "Rows that are asked.", low=10)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> tuple[Ablated, ...]:
        return await asyncio.to_thread(self._all, lab)

    def _all(self, lab: Lab) -> tuple[Ablated, ...]:
        plans: list[tuple[str, str, DecoderShape, Draw]] = [
            ("order", kind, DecoderShape(SYMBOLS, 32, 1, 4, 4, 64, position=kind, places=16), order)
            for kind in POSITIONS
        ]
        plans += [
            ("look-up of two", f"{heads} head{'s' * (heads > 1)}", DecoderShape(24, 64, 2, heads, heads, 128), look_up)
            for heads in (1, 4)
        ]
        rows: list[Ablated] = []
        first: dict[str, list[Score]] = {}
        for done, (task, kind, shape, draw) in enumerate(plans):
            lab.progress(Progress(self.name, done, len(plans), f"{task}: {kind}"))
            model = DecoderModel.fresh(shape, self.seed)
            train(model, draw, TrainingPlan(self.steps * (1 if task == "order" else 3), 4e-3, seed=self.seed))
            found = right(model, draw, self.count, self.seed)
            scores = [Score(float(one)) for one in found]
            gap = paired(VALUES, scores, first[task]) if task in first else None
            first.setdefault(task, scores)
            rows.append(Ablated(task, kind, size(model.weights), share(found), gap))
        return tuple(rows)

    def table(self, found: tuple[Ablated, ...]) -> str:
        lines = [["task", "", "numbers", "right", "to the first of the task"]]
        for row in found:
            gap = "" if row.difference is None else change(row.difference)
            lines.append([row.task, row.kind, f"{row.parameters:,}", exact(row.right), gap])
        return (
            f"{align(lines)}\n\norder: which of two signs among noise came first (chance 0.5), one layer\n"
            f"look-up of two: the sum of two values by their keys, modulo {SYMBOLS} (chance {1 / SYMBOLS:.3f}), two layers"
        )
