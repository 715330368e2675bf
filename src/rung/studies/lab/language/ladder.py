"""Language models on the same text, from counts to the transformer: bits a byte of what none of them has seen,
paired."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.system.threads import run_stoppable
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score
from rung.foundations.language import Tensor, tensors
from rung.foundations.language.markov import MarkovModel
from rung.foundations.language.recurrent import RecurrentModel
from rung.foundations.language.training import TrainingPlan, cross_entropy, fit, one_thread, size, windows
from rung.foundations.language.transformer import DecoderModel, DecoderShape
from rung.ladder.view.numbers import change, exact
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired
from rung.studies.lab.corpus import LabText, corpus
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.study import Lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES = {"rnn": 5e-3, "lstm": 8e-3, "gru": 6e-3, "transformer": 5e-3}
KINDS = ("markov", "rnn", "lstm", "gru", "transformer")


@dataclass(frozen=True, slots=True)
class FittedLanguageModel:
    """``bits`` a byte of the held-out pieces; ``difference`` to the model of the row before, on the same pieces;
    ``cpu`` seconds of training; ``sample`` is a text that it wrote."""

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
    """Train language models on one text and say how many bits a byte of its held-out end each needs (2 to the bits is
    the perplexity of a byte), with the paired difference to the one before."""

    name = "lm"
    records = Climbed
    title = "Language models on one text"
    ideas = ("language.markov", "language.recurrent", "language.transformer", "language.training")

    models: tuple[str, ...] = argument(f"Which of {', '.join(KINDS)} (default: all).", "MODEL...", ())
    text: tuple[str, ...] = option((), "A file or folder; `python` (its docstrings), the default; may be repeated.")
    order: int = option(3, "Bytes of context of the Markov model.", low=0, high=6)
    most: int = option(1_200_000, "Bytes of the text at most.", low=10_000)
    pieces: int = option(600, "Held-out pieces of 64 bytes (read after 64 that are not counted) at most.", low=2)
    width: int = option(192, "Width of the recurrent layers; the transformer has as many numbers as the LSTM.", low=8)
    steps: int = option(1200, "Training steps of a network, of 16 windows of 128 bytes each.", low=1)
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
                fitted = self._markov(data) if name == "markov" else await self._network(name, data, lab)
            scores = [Score(float(value)) for value in fitted.bits]
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

    async def _network(self, kind: str, data: LabText, lab: Lab) -> LadderRow:
        def tell(step: int, loss: float) -> None:
            if (step + 1) % 50 == 0:
                note = f"{kind} {loss / math.log(2):.2f} bits in training"
                lab.progress(Progress(self.name, step + 1, self.steps, note))

        def work(stop: threading.Event) -> LadderRow:
            model = network(kind, self.width, self.seed)

            def loss(ids: Tensor) -> Tensor:
                if stop.is_set():
                    raise KeyboardInterrupt
                return cross_entropy(model.logits(ids[:, :-1]), ids[:, 1:])

            plan = TrainingPlan(self.steps, RATES[kind], seed=self.seed)
            fit(model.weights, loss, windows(data.train, self.steps, 16, 128, self.seed), plan, tell)
            start = bytes(data.held[0, : data.context])
            return LadderRow(
                kind, size(model.weights), bits(model, data), lambda: write(model, start, self.sample, self.seed)
            )

        return await run_stoppable(work)

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


def network(kind: str, width: int, seed: int) -> Any:
    """A fresh network over bytes: recurrent of that width, or a transformer of four layers with about as many numbers
    as the LSTM of that width has."""
    if kind != "transformer":
        return RecurrentModel.fresh(kind, 256, 64, width, seed)
    most = size(RecurrentModel.fresh("lstm", 256, 64, width, seed).weights)
    shapes = [DecoderShape(256, 8 * n, 4, 4, 4, 8 * round(8 * n / 3)) for n in range(1, width)]
    return DecoderModel.fresh(max((s for s in shapes if _numbers(s) <= most), key=_numbers, default=shapes[0]), seed)


def _numbers(shape: DecoderShape) -> int:
    layer = 4 * shape.width**2 + 3 * shape.width * shape.hidden + 2 * shape.width
    return shape.layers * layer + (shape.symbols + 1) * shape.width


def bits(model: Any, data: LabText) -> NDArray[np.float64]:
    """Mean bits a byte of each held-out piece, shape (pieces,)."""
    torch, found = tensors(), []
    with torch.inference_mode(), one_thread():
        for part in np.array_split(data.held, max(1, len(data.held) // 50)):
            ids = torch.from_numpy(part.astype(np.int64))
            logits = model.logits(ids[:, :-1])[:, data.context - 1 :]
            each = torch.logsumexp(logits, -1) - logits.gather(-1, ids[:, data.context :, None])[..., 0]
            found.append(each.mean(1).double().numpy() / math.log(2))
    return np.concatenate(found)


def write(model: Any, start: bytes, count: int, seed: int) -> str:
    """``count`` bytes drawn one by one after ``start``."""
    torch, source = tensors(), tensors().Generator().manual_seed(seed)
    out = list(start)
    with torch.inference_mode(), one_thread():
        for _ in range(count):
            odds = torch.softmax(model.logits(torch.tensor([out[-128:]]))[0, -1], -1)
            out.append(int(torch.multinomial(odds, 1, generator=source)))
    return bytes(out[len(start) :]).decode("utf-8", "replace")


@dataclass(frozen=True)
class LadderRow:
    """A model that was trained: mean bits a byte of each held-out piece, shape (pieces,), and how it writes."""

    name: str
    parameters: int
    bits: NDArray[np.float64]
    write: Callable[[], str]
