"""Language models on the same text, from counts to the transformer: bits a byte of what none of them has seen, paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score
from rung.foundations.language.markov import MarkovModel
from rung.ladder.view.numbers import change, exact
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired
from rung.studies.lab.corpus import LabText, corpus
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.study import Lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("markov", "rnn", "lstm", "gru", "transformer")


@dataclass(frozen=True, slots=True)
class FittedLanguageModel:
    """``bits`` a byte of the held-out pieces; ``difference`` to the model of the row before, on the same pieces; ``cpu`` seconds
    of training; ``sample`` is a text that it wrote."""

    model: str
    parameters: int
    bits: Interval
    difference: Difference | None
    cpu: float
    sample: str

    @property
    def perplexity(self) -> float:
        """Of a byte."""
        return float(2**self.bits.value)


@dataclass(frozen=True, slots=True)
class Climbed:
    """Every model of a text of ``train`` bytes, measured on ``scored`` bytes in ``pieces``."""

    text: str
    train: int
    scored: int
    pieces: int
    models: tuple[FittedLanguageModel, ...]


@dataclass(frozen=True)
class LanguageLadder(Experiment[Climbed]):
    """Train language models on one text and say how many bits a byte of its held-out end each needs (2 to the bits is the
    perplexity of a byte), with the paired difference to the one before."""

    name = "lm"
    records = Climbed
    title = "Language models on one text"
    ideas = ("language.markov",)

    models: tuple[str, ...] = argument(f"Which of {', '.join(KINDS)} (default: all).", "MODEL...", ())
    text: tuple[str, ...] = option((), "A file or folder; `python` (its docstrings), the default; may be repeated.")
    order: int = option(3, "Bytes of context of the Markov model.", low=0, high=6)
    most: int = option(1_200_000, "Bytes of the text at most.", low=10_000)
    pieces: int = option(200, "Held-out pieces of 448 bytes at most.", low=2)
    sample: int = option(160, "Bytes that each model writes.", low=0)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> Climbed:
        """Raises InputError for an unknown model and for a text that is too short."""
        chosen = list(dict.fromkeys(self.models)) or list(KINDS)
        if unknown := [name for name in chosen if name not in KINDS]:
            raise InputError(
                f"there is no model {unknown[0]!r} here", remedy=f"choose of {', '.join(KINDS)}", code="model"
            )
        data = corpus(self.text, most=self.most, pieces=self.pieces)
        rows: list[FittedLanguageModel] = []
        before: list[Score] = []
        for done, name in enumerate(chosen):
            lab.progress(Progress(self.name, done, len(chosen), name))
            with timed() as clock:
                fitted = self._markov(data)
            scores = [Score(value) for value in fitted.bits]
            gap = paired(VALUES, scores, before) if before else None
            rows.append(
                FittedLanguageModel(
                    fitted.name, fitted.parameters, interval(VALUES, scores), gap, clock.cpu, fitted.write()
                )
            )
            before = scores
        return Climbed(data.name, len(data.train), data.scored, len(data.held), tuple(rows))

    def _markov(self, data: LabText) -> LadderRow:
        model = MarkovModel.fit(data.train, self.order)
        start = data.context - self.order
        bits = np.array([model.bits(piece[start:]).mean() for piece in data.held])
        rng = np.random.default_rng(self.seed)

        def write() -> str:
            out = list(data.held[0, : data.context])
            for _ in range(self.sample):
                out.append(rng.choice(256, p=model.next(np.array(out[-6:], np.uint8))))
            return bytes(out[data.context :]).decode("utf-8", "replace")

        return LadderRow(f"markov-{self.order}", model.parameters, bits, write)

    def about(self, subject: None) -> str:
        return ", ".join(self.text) or "python"

    def table(self, found: Climbed) -> str:
        lines = [["", "numbers", "bits a byte", "perplexity", "to the row above", "CPU s"]]
        for row in found.models:
            gap = "" if row.difference is None else change(row.difference)
            lines.append(
                [row.model, f"{row.parameters:,}", exact(row.bits), f"{row.perplexity:.2f}", gap, f"{row.cpu:.1f}"]
            )
        head = f"{found.text}: {found.train:,} bytes to learn from, {found.scored:,} held out in {found.pieces} pieces"
        wrote = [f"{row.model} writes: {' '.join(row.sample.split())}" for row in found.models if row.sample.strip()]
        return "\n\n".join([head, align(lines), *wrote])


@dataclass(frozen=True)
class LadderRow:
    """A model that was trained: mean bits a byte of each held-out piece, shape (pieces,), and how it writes."""

    name: str
    parameters: int
    bits: NDArray[np.float64]
    write: Callable[[], str]
