"""Vectors of words from one text, by five methods: what people, WordNet, analogies and misspellings say of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.data.rows.lines import disk_errors, replacing
from rung.foundations.words.fasttext import FastText
from rung.foundations.words.glove import GlovePlan, cooccurrences, factorize
from rung.foundations.words.vocabulary import TextVocabulary
from rung.foundations.words.word2vec import SkipgramPlan, fresh, train
from rung.ladder.view.numbers import exact
from rung.metrics.stats import wilson
from rung.models.embed import unit
from rung.retrieval.measure.vectors import Space, agree, answer, read_sections, read_similarity
from rung.studies.lab.corpus import PACKAGES, text
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.words.wordnet import NounPaths
from rung.studies.study import Lab

if TYPE_CHECKING:
    from rung.foundations.words import Floats

METHODS = ("random", "skipgram", "cbow", "glove", "fasttext")
PLANTED = 200
"""Misspellings that are looked up."""
Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class FittedVectors:
    """``similarity``: of each set the rank correlation with people's scores (or WordNet's paths), and how many of its
    pairs are known; ``analogies``: answered first, of those whose words are known; ``misspelled``: the word is among
    the five nearest to its misspelling; ``rate`` in thousands of words a CPU second, all passes counted."""

    method: str
    cpu: float
    rate: float
    similarity: tuple[tuple[str, Interval, int], ...]
    analogies: Interval | None
    misspelled: Interval | None
    near: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class VectorsOfText:
    text: str
    tokens: int
    words: int
    dimensions: int
    methods: tuple[FittedVectors, ...]


@dataclass(frozen=True)
class WordVectors(Experiment[VectorsOfText]):
    """Train vectors of words from scratch on one text (skip-gram, CBOW, GloVe, fastText) and measure them: similarity
    as people and WordNet see it, analogies, misspelled words. With --to they are embedders: words:FILE,
    subwords:FILE."""

    name = "words"
    records = VectorsOfText
    title = "Words as vectors"
    ideas = ("words.word2vec", "words.glove", "words.fasttext", "words.vocabulary", "words.procrustes")

    methods: tuple[str, ...] = argument(f"Which of {', '.join(METHODS)} (default: all).", "METHOD...", ())
    text: tuple[str, ...] = option((), f"A file or folder, or `{PACKAGES}` (the default); may be repeated.")
    similarity: tuple[Path, ...] = option((), "A set of word pairs with people's scores; may be repeated.")
    analogies: Path | None = option(None, "Analogies in Google's form.")
    wordnet: Path | None = option(None, "WordNet's folder, with index.noun and data.noun.")
    to: Path | None = option(None, "A folder to write the vectors to.")
    dimensions: int = option(100, "Numbers of a vector.", low=2)
    epochs: int = option(3, "Passes over the text; GloVe makes four times as many over its counts.", low=1)
    least: int = option(5, "Words that occur more seldom are left out.", low=1)
    vocabulary: int = option(30_000, "The most frequent words, so many at most.", low=10)
    near: str = option("number", "Show the neighbours of this word.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> VectorsOfText:
        """Raises InputError for an unknown method, a text with too few words, or sets that cannot be read."""
        chosen = list(dict.fromkeys(self.methods)) or list(METHODS)
        if unknown := [name for name in chosen if name not in METHODS]:
            raise InputError(
                f"there is no method {unknown[0]!r} here", remedy=f"choose of {', '.join(METHODS)}", code="method"
            )
        sets = {path.stem: read_similarity(path) for path in self.similarity}
        sections = read_sections(self.analogies) if self.analogies else {}
        joined, name = text(self.text or (PACKAGES,))
        vocabulary = await asyncio.to_thread(TextVocabulary.read, joined, least=self.least, most=self.vocabulary)
        if self.wordnet is not None:
            paths = NounPaths.read(self.wordnet)
            sets["WordNet"] = paths.pairs(vocabulary.words[:10_000], 3000, self.seed)
        if self.to is not None:
            with disk_errors(self.to):
                self.to.mkdir(parents=True, exist_ok=True)
        rows = []
        for done, method in enumerate(chosen):

            def tell(share: float, method: str = method, done: int = done) -> None:
                if int(share * 100) % 25 == 0:
                    lab.progress(Progress(self.name, done, len(chosen), f"{method} {share:.0%}"))

            tell(0)
            rows.append(await asyncio.to_thread(self._one, method, vocabulary, sets, sections, tell))
        return VectorsOfText(name, len(vocabulary.ids), len(vocabulary.words), self.dimensions, tuple(rows))

    def _one(
        self,
        method: str,
        vocabulary: TextVocabulary,
        sets: dict[str, list[tuple[str, str, float]]],
        sections: dict[str, list[tuple[str, ...]]],
        tell: Tell,
    ) -> FittedVectors:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1), timed() as clock:
            vectors, parts, note = self._train(method, vocabulary, tell)
        if self.to is not None and method != "random":
            write_vectors(self.to / f"{method}.vec", vocabulary.words, vectors)
            if parts is not None:
                with disk_errors(self.to / "fasttext.npz"):
                    parts.save(self.to / "fasttext.npz")
        space = Space(vocabulary.words, unit(vectors.copy()), None)
        similar = []
        for name, pairs in sets.items():
            found = agree(space, pairs, resamples=500)
            similar.append((name, found.correlation, found.known))
        answers = answer(space, sections) if sections else []
        known = sum(row.known for row in answers)
        passes = self.epochs if method != "random" else 0
        return FittedVectors(
            method,
            clock.cpu,
            round(len(vocabulary.ids) * passes / max(clock.cpu, 0.01) / 1000),
            tuple(similar),
            wilson(sum(row.first for row in answers), known) if known else None,
            _misspelled(space, parts, self.seed) if parts is not None else None,
            tuple(word for word, _ in space.nearest(space.vector(self.near), 5, (self.near,)))
            if space.row(self.near) is not None
            else (),
            note,
        )

    def _train(self, method: str, vocabulary: TextVocabulary, tell: Tell) -> tuple[Floats, FastText | None, str]:
        plan = SkipgramPlan(self.dimensions, epochs=self.epochs, seed=self.seed)
        if method == "fasttext":
            model = FastText.fit(vocabulary, plan, tell)
            return model.vectors(vocabulary.words), model, f"{len(model.parts):,} pieces of words"
        if method == "glove":
            steps = GlovePlan(self.dimensions, epochs=4 * self.epochs, seed=self.seed)
            counts = cooccurrences(vocabulary, steps.window)
            fitted = factorize(counts, steps, tell)
            return fitted.vectors, None, f"{counts.nnz:,} pairs counted, R2 of their logarithms {fitted.fit:.3f}"
        if method == "random":
            return fresh(len(vocabulary.words), self.dimensions, self.seed), None, ""
        return train(vocabulary, plan, cbow=method == "cbow", tell=tell), None, ""

    def about(self, subject: None) -> str:
        return ", ".join(self.text) or PACKAGES

    def table(self, found: VectorsOfText) -> str:
        head = f"{found.text}: {found.tokens:,} tokens of {found.words:,} words, {found.dimensions} dimensions"
        names = [name for name, _, _ in found.methods[0].similarity]
        lines = [["", "CPU s", "k words/s", *names, "analogies", "misspelled"]]
        for row in found.methods:
            others = [exact(value) if value is not None else "-" for value in (row.analogies, row.misspelled)]
            lines.append(
                [
                    row.method,
                    f"{row.cpu:.1f}",
                    f"{row.rate:.0f}",
                    *(exact(value) for _, value, _ in row.similarity),
                    *others,
                ]
            )
        known = ", ".join(f"{name} {n:,}" for name, _, n in found.methods[0].similarity)
        notes = [f"{row.method}: {row.note}" for row in found.methods if row.note]
        near = [f"{row.method} near {self.near!r}: {', '.join(row.near)}" for row in found.methods if row.near]
        pairs = [f"pairs whose words are known: {known}"] if known else []
        return "\n\n".join([head, align(lines), "\n".join([*pairs, *notes, *near])])


def write_vectors(path: Path, words: Sequence[str], vectors: Floats) -> None:
    """Vectors in word2vec's text form. Raises InputError where the disk refuses."""
    with replacing(path) as out:
        out.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, row in zip(words, vectors, strict=True):
            out.write(f"{word} {' '.join(f'{x:.5g}' for x in row)}\n".encode())


def misspell(word: str, rng: np.random.Generator) -> str:
    """The word with two letters swapped, one left out, one doubled, or another in its place; never the first."""
    at = int(rng.integers(1, len(word) - 1))
    letter = "abcdefghijklmnopqrstuvwxyz"[int(rng.integers(26))]
    forms = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + letter + word[at + 1 :],
    )
    return forms[int(rng.integers(4))]


def _misspelled(space: Space, model: FastText, seed: int) -> Interval | None:
    """Of words of six letters or more among the 5,000 most frequent."""
    rng = np.random.default_rng(seed)
    able = [word for word in space.words[:5000] if len(word) > 5 and word.isascii() and word.isalpha()]
    found = asked = 0
    for place in rng.permutation(len(able)):
        wrong = misspell(able[int(place)], rng)
        if asked == PLANTED or space.row(wrong) is not None:
            continue
        asked += 1
        near = space.nearest(model.vectors([wrong])[0], 5)
        found += able[int(place)] in [word for word, _ in near]
    return wilson(found, asked) if asked else None
