"""An encoder-decoder from scratch: words turned round, and sentences from English to French."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Case, Interval, Progress
from rung.foundations.language.seq2seq import BEGIN, END, EncoderDecoder, padded
from rung.foundations.language.training import TrainingPlan, fit, one_thread, size
from rung.foundations.text.words import words
from rung.ladder.view.numbers import change, exact
from rung.metrics import load_metric
from rung.metrics.stats import Difference, interval, paired, share
from rung.retrieval.measure.vectors import read_lines
from rung.studies.lab.corpus import text
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.study import Lab

UNKNOWN, FIRST = 3, 4
"""The id of words that are not known, and the first of those that are."""
Pairs = list[tuple[list[int], list[int]]]


@dataclass(frozen=True, slots=True)
class Seq2SeqResult:
    """``right``: words of the held-out ones that were turned round without a fault. For pairs: chrF of what was
    written, of the source copied, and their paired difference."""

    task: str
    learnt: int
    held: int
    parameters: int
    cpu: float
    right: Interval | None
    written: Interval | None
    copied: Interval | None
    difference: Difference | None
    examples: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Seq2Seq(Experiment[tuple[Seq2SeqResult, ...]]):
    """Train an encoder-decoder to turn words round (they are drawn from a text; other words are held out), and, with
    --source and --target, to translate line by line, beside a copy of the source."""

    name = "seq2seq"
    records = tuple[Seq2SeqResult, ...]
    title = "Encoder and decoder"
    ideas = ("language.seq2seq",)

    source: tuple[Path, ...] = option((), "Lines in one language; may be repeated.")
    target: tuple[Path, ...] = option((), "The same lines in the other; as often.")
    text: tuple[str, ...] = option((), "Where the words to turn round are from; `python`, the default.")
    steps: int = option(900, "Training steps of 64 words or 32 pairs.", low=1)
    held: int = option(300, "Words, and pairs, that are held out.", low=10)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> tuple[Seq2SeqResult, ...]:
        """Raises InputError for files whose lines do not pair up, or a text of too few words."""
        if len(self.source) != len(self.target):
            raise InputError(
                f"got {len(self.source)} --source and {len(self.target)} --target", remedy="name as many of both"
            )
        lab.progress(Progress(self.name, 0, 2, "words turned round"))
        rows = [await asyncio.to_thread(self._turned)]
        if self.source:
            lab.progress(Progress(self.name, 1, 2, "sentences"))
            rows.append(await self._translated(lab))
        return tuple(rows)

    def _turned(self) -> Seq2SeqResult:
        found = sorted({word for word in words(text(self.text)[0]) if 3 <= len(word) <= 10 and word.isascii()})
        if len(found) < 4 * self.held:
            raise InputError(
                f"the text has {len(found)} words of 3 to 10 letters, expected {4 * self.held}",
                remedy="name a longer text, or a smaller --held",
                code="short-text",
            )
        rng = np.random.default_rng(self.seed)
        order = [found[int(at)] for at in rng.permutation(len(found))]
        letters = sorted({letter for word in found for letter in word})
        number = {letter: FIRST + at for at, letter in enumerate(letters)}
        pairs = [([number[x] for x in word], [number[x] for x in reversed(word)]) for word in order]
        model = EncoderDecoder.fresh(FIRST + len(letters), 64, 2, 4, self.seed)
        with timed() as clock:
            self._fit(model, pairs[self.held :], 64, 4e-3)
        held = pairs[: self.held]
        wrote = write(model, [one for one, _ in held], 14)
        hits = [ours == wanted for ours, (_, wanted) in zip(wrote, held, strict=True)]

        def spell(ids: Sequence[int]) -> str:
            return "".join(letters[id - FIRST] for id in ids if id >= FIRST)

        shown = tuple((spell(one), spell(ours), spell(two)) for ours, (one, two) in zip(wrote[:5], held, strict=False))
        return Seq2SeqResult(
            "words turned round", len(pairs) - self.held, self.held, size(model.weights), clock.cpu,
            share(hits), None, None, None, shown,
        )  # fmt: skip

    async def _translated(self, lab: Lab) -> Seq2SeqResult:
        lines = [
            tuple([line.strip() for line in read_lines(path)] for path in pair)
            for pair in zip(self.source, self.target, strict=True)
        ]
        if odd := [at for at, (one, two) in enumerate(lines) if len(one) != len(two)]:
            raise InputError(
                f"{len(lines[odd[0]][0])} lines and {len(lines[odd[0]][1])} do not pair up",
                file=self.source[odd[0]],
                remedy="name files whose lines are translations of each other",
            )
        both = list(dict.fromkeys(pair for one, two in lines for pair in zip(one, two, strict=True) if all(pair)))
        rng = np.random.default_rng(self.seed)
        order = [both[int(at)] for at in rng.permutation(len(both))]
        held, learnt = order[: self.held], order[self.held :]
        if len(learnt) < self.held:
            raise InputError(f"{len(both)} pairs are too few", remedy="name more lines, or a smaller --held")
        model, wrote, clock = await asyncio.to_thread(self._sentences, learnt, [one for one, _ in held])
        metric = load_metric("chrf", lab.resources)

        async def score(said: Sequence[str]) -> Any:
            cases = [Case({"text": one}, ours, two) for ours, (one, two) in zip(said, held, strict=True)]
            return await metric.score(cases)

        ours, copy = await score(wrote), await score([one for one, _ in held])
        shown = tuple((one, mine, two) for mine, (one, two) in zip(wrote[:5], held, strict=False))
        return Seq2SeqResult(
            "sentences", len(learnt), len(held), size(model.weights), clock, None,
            interval(metric, ours, resamples=2000), interval(metric, copy, resamples=2000),
            paired(metric, ours, copy, resamples=2000), shown,
        )  # fmt: skip

    def _sentences(self, learnt: list[tuple[str, str]], held: list[str]) -> tuple[EncoderDecoder, list[str], float]:
        counts = Counter(word for pair in learnt for side in pair for word in words(side))
        known = [word for word, n in counts.most_common(5000) if n > 1]
        number = {word: FIRST + at for at, word in enumerate(known)}

        def ids(line: str) -> list[int]:
            return [number.get(word, UNKNOWN) for word in words(line)][:30] or [UNKNOWN]

        model = EncoderDecoder.fresh(FIRST + len(known), 96, 2, 4, self.seed)
        with timed() as clock:
            self._fit(model, [(ids(one), ids(two)) for one, two in learnt], 32, 3e-3)
        wrote = write(model, [ids(one) for one in held], 30)
        return model, [" ".join(known[id - FIRST] for id in row if id >= FIRST) for row in wrote], clock.cpu

    def _fit(self, model: EncoderDecoder, pairs: Pairs, batch: int, rate: float) -> None:
        def batches() -> Iterator[Any]:
            rng = np.random.default_rng(self.seed)
            while True:
                some = [pairs[int(at)] for at in rng.integers(0, len(pairs), batch)]
                yield padded([one for one, _ in some]), padded([[BEGIN, *two, END] for _, two in some])

        plan = TrainingPlan(self.steps, rate, seed=self.seed)
        fit(model.weights, lambda pair: model.loss(*pair), islice(batches(), self.steps), plan)

    def table(self, found: tuple[Seq2SeqResult, ...]) -> str:
        parts = []
        for row in found:
            head = f"{row.task}: {row.learnt:,} to learn from, {row.held} held out; {row.parameters:,} numbers, {row.cpu:.1f} CPU s"
            if row.right is not None:
                head += f"\nwritten without a fault {exact(row.right)}"
            if row.written is not None and row.copied is not None and row.difference is not None:
                head += (
                    f"\nchrF {exact(row.written)}, of a copy {exact(row.copied)}, difference {change(row.difference)}"
                )
            parts.append(f"{head}\n\n{align([['read', 'wrote', 'wanted'], *map(list, row.examples)])}")
        return "\n\n".join(parts)


def write(model: EncoderDecoder, sources: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """What it writes for each source, fifty at a time."""
    out: list[list[int]] = []
    with one_thread():
        for at in range(0, len(sources), 50):
            out += model.write(padded(sources[at : at + 50]), most)
    return out
