"""Learning a reward with people in the loop: a round asks for the labels that the model is least sure of, waits for
them, and goes on.

Everything is in files: what was asked, what was answered, what comes next follows from both. A run that is killed
anywhere, or waits for days, goes on where it was. Questions are chosen by how far models fitted to samples of the
labels disagree about them, beyond what each is unsure of by itself (BALD: Houlsby et al. 2011, arXiv:1112.5745).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.alignment.rewards.model import fit_head, sides
from rung.alignment.rewards.pairs import AnswerPair
from rung.core.codec import digest, encode
from rung.core.errors import InputError
from rung.core.protocols import Embedder
from rung.core.system.files import write_file
from rung.core.types import Interval, Message
from rung.data.rows import lines
from rung.data.rows.records import Record
from rung.metrics.stats import bootstrap, percentiles

Array = NDArray[np.float64]
STATE, QUESTIONS, LABELS, PAIRS = "labelling.json", "questions.jsonl", "labels.jsonl", "labelled.jsonl"
ANSWERS = ("one", "other", "tie")
HEADS, STRENGTH = 7, 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two answers is better? Which of them is ``one`` says nothing of their worth."""

    id: str
    asked: str
    one: str
    other: str


@dataclass(frozen=True)
class Labelling:
    """A run: ``ask`` questions in each of ``rounds``. ``asked`` holds the ids of each round so far."""

    folder: Path
    ask: int = 20
    rounds: int = 5
    seed: int = 0
    asked: tuple[tuple[str, ...], ...] = ()
    pool: Mapping[str, AnswerPair] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> dict[str, str]:
        """What was answered, by question; a second thought replaces the first."""
        try:
            text = (self.folder / LABELS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        out = {}
        for line in text.split("\n"):
            try:
                row = json.loads(line)
                out[str(row["id"])] = str(row["better"])
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a process that was killed
        return out

    @property
    def open(self) -> list[Question]:
        """What was asked and is not answered."""
        answered = self.labels
        return [self.question(id) for ids in self.asked for id in ids if id not in answered]

    @property
    def done(self) -> bool:
        return len(self.asked) == self.rounds and not self.open

    def question(self, id: str) -> Question:
        pair = self.pool[id]
        one, other = (pair.rejected, pair.chosen) if self.turned(id) else (pair.chosen, pair.rejected)
        return Question(id, pair.asked, one, other)

    def turned(self, id: str) -> bool:
        """Whether the file's first answer is shown as the other one."""
        return int(digest([self.seed, id])[:2], 16) % 2 == 1

    def labelled(self) -> list[AnswerPair]:
        """The answered questions as pairs; ties teach nothing."""
        out = []
        for id, better in self.labels.items():
            if id in self.pool and better != "tie":
                shown = self.question(id)
                chosen, rejected = (shown.one, shown.other) if better == "one" else (shown.other, shown.one)
                out.append(replace(self.pool[id], chosen=chosen, rejected=rejected))
        return out

    def answer(self, id: str, better: str) -> None:
        """Keep an answer, on disk before this returns. Raises InputError for what was not asked, or is no answer."""
        if not any(id in ids for ids in self.asked) or better not in ANSWERS:
            raise InputError(
                f"got {better!r} for the question {id!r}",
                remedy=f"answer what was asked ({QUESTIONS}) with {', '.join(ANSWERS)}",
                code="label",
            )
        path = self.folder / LABELS
        torn = path.exists() and not path.read_bytes().endswith(b"\n")  # by a process that was killed
        with path.open("a", encoding="utf-8") as stream:
            stream.write("\n" * torn + json.dumps({"id": id, "better": better}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def save(self) -> None:
        """Write where the run is, and its open questions."""
        said = {"ask": self.ask, "rounds": self.rounds, "seed": self.seed, "asked": self.asked, "pool": _key(self.pool)}
        rows = "".join(json.dumps(encode(one), ensure_ascii=False) + "\n" for one in self.open)
        write_file(self.folder / QUESTIONS, rows.encode())
        write_file(self.folder / STATE, json.dumps(said).encode())

    def write_pairs(self) -> Path:
        """The labelled pairs as rows that rung reward fit and rung align read."""
        path = self.folder / PAIRS
        lines.write(path, [_record(pair) for pair in self.labelled()])
        return path


def _record(pair: AnswerPair) -> Record:
    messages = (*pair.messages, Message("assistant", pair.chosen))
    return Record(
        pair.id,
        messages,
        rejected=pair.rejected,
        shape="preference",
        source={"label": "person", "served": list(pair.traces)},
    )


def _key(pool: Mapping[str, AnswerPair]) -> str:
    return digest(sorted(pool))


def open_labelling(folder: Path, pool: Sequence[AnswerPair], given: Labelling) -> Labelling:
    """The run in ``folder``, or the new one that is ``given``. Raises InputError for another pool than it was begun
    with, and for one that is too small."""
    known = {pair.id: pair for pair in pool}
    if given.ask < 1 or given.rounds < 1 or len(known) < given.ask * given.rounds:
        raise InputError(
            f"{len(known)} pairs for {given.rounds} rounds of {given.ask} questions",
            remedy="give more pairs, or ask less: --ask 10 --rounds 3",
            code="few-pairs",
        )
    path = folder / STATE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        return replace(given, pool=known)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        asked = tuple(tuple(map(str, ids)) for ids in said["asked"])
        found = Labelling(folder, int(said["ask"]), int(said["rounds"]), int(said["seed"]), asked, known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", file=path, remedy="name another folder") from None
    if said["pool"] != _key(known):
        raise InputError(
            f"{folder} was begun with other pairs", remedy="name the same files, or another folder", code="other-pool"
        )
    return found


def advance(run: Labelling, embedder: Embedder) -> Labelling:
    """Ask the next round where the last one is answered; else the run as it is. What is asked follows from the labels
    alone."""
    if run.open or len(run.asked) >= run.rounds:
        return run
    left = [pair for id, pair in sorted(run.pool.items()) if not any(id in ids for ids in run.asked)]
    known = run.labelled()
    places = pick(embedder_sides(embedder, known), embedder_sides(embedder, left), run.ask, [run.seed, len(run.asked)])
    asked = tuple(left[place].id for place in places)
    after = replace(run, asked=(*run.asked, asked))
    after.save()
    return after


def embedder_sides(embedder: Embedder, pairs: Sequence[AnswerPair]) -> Array:
    """What the embedder sees of each pair: chosen less rejected, shape (pairs, width)."""
    if not pairs:
        return np.zeros((0, 1))
    good, bad = sides(embedder, pairs)
    return good - bad


def pick(known: Array, left: Array, count: int, seed: Sequence[int]) -> list[int]:
    """Places of ``count`` questions among ``left``: those on which models disagree; at random while fewer than ten are
    ``known``."""
    draw = np.random.default_rng(seed)
    if len(known) < 10:
        return sorted(draw.choice(len(left), count, replace=False).tolist())
    heads = [fit_head(known[draw.integers(0, len(known), len(known))], STRENGTH) for _ in range(HEADS)]
    said = 1 / (1 + np.exp(-np.clip(left @ np.stack(heads).T, -30, 30)))
    unsure = _entropy(said.mean(1)) - _entropy(said).mean(1)
    return [int(place) for place in np.argsort(-unsure, kind="stable")[:count]]


def _entropy(p: Any) -> Array:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    out: Array = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return out


@dataclass(frozen=True, slots=True)
class LabelPoint:
    """With so many ``labels``: accuracy on held-out pairs where they were chosen by disagreement and at random, means
    over repetitions, and the paired difference."""

    labels: int
    chosen: float
    random: float
    gain: Interval


def rehearse(apart: Array, held: Array, run: Labelling, repeats: int = 20) -> list[LabelPoint]:
    """The same loop with labels that are known, against choosing at random. ``apart`` and ``held``: chosen less
    rejected of the pool and of pairs that are not in it."""
    found = np.array(
        [[_learn(apart, held, run, [run.seed, turn], way) for way in (True, False)] for turn in range(repeats)]
    )
    points = []
    for step in range(run.rounds):
        mine, random = found[:, 0, step], found[:, 1, step]
        gap = mine - random

        def reduce(draws: NDArray[np.intp], gap: Array = gap) -> Array:
            return np.asarray(gap[draws].mean(1), np.float64)

        gain = percentiles(float(gap.mean()), bootstrap(reduce, repeats, 2000, 0), repeats, -1.0, 1.0)
        points.append(LabelPoint(run.ask * (step + 1), float(mine.mean()), float(random.mean()), gain))
    return points


def _learn(apart: Array, held: Array, run: Labelling, seed: list[int], by_doubt: bool) -> list[float]:
    """Accuracy on held pairs after each round. The first round is the same either way."""
    draw = np.random.default_rng([*seed, 9])
    known: list[int] = []
    out = []
    for step in range(run.rounds):
        left = np.setdiff1d(np.arange(len(apart)), known)
        if by_doubt and step:
            places = pick(apart[known], apart[left], run.ask, [*seed, step])
        else:
            places = draw.choice(len(left), run.ask, replace=False).tolist()
        known += left[places].tolist()
        out.append(float((held @ fit_head(apart[known], STRENGTH) > 0).mean()))
    return out
