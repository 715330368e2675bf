"""Styles that each person is answered in, learnt from what that person says of the answers: Thompson sampling (Thompson
1933; with ratings between 0 and 1, Agrawal & Goyal 2012, arXiv:1111.1797).

What is known of a person are their own rows of ``signals``: the style of each answer, and its ratings. Nobody else's
are looked at, so that one person's ratings change no answer to another, and deleting the rows deletes the preference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.core.types import Interval, Message
from rung.foundations.text.yaml import load_yaml
from rung.metrics.stats import bootstrap, percentiles
from rung.store import Store, StoredSignal

MOST = 8
STYLE = "style"
"""Kind of a signal that says in which style an answer was given."""


@dataclass(frozen=True, slots=True)
class StylePreference:
    """What is known of one person and one style: a Beta(``good``, ``bad``) belief about how well it is rated, from
    ``answers``."""

    style: str
    answers: int = 0
    good: float = 1.0
    bad: float = 1.0

    @property
    def mean(self) -> float:
        return self.good / (self.good + self.bad)


def read_styles(path: Path) -> dict[str, str]:
    """Read ``styles: {NAME: what the model is told}``, 2 to MOST of them. Raises InputError."""
    document = load_yaml(path, "name a styles.yaml")
    found = document.get("styles") if isinstance(document, dict) else None
    if (
        not isinstance(found, dict)
        or not 2 <= len(found) <= MOST
        or not all(isinstance(text, str) and text.strip() for text in found.values())
    ):
        raise InputError(
            f"expected 2 to {MOST} styles, each with a text",
            file=path,
            remedy='styles: {brief: "Answer in one sentence.", full: "Explain step by step."}',
            code="styles",
        )
    return {str(name): text for name, text in found.items()}


def preferences(rows: Sequence[StoredSignal], styles: Sequence[str]) -> list[StylePreference]:
    """One person's rows as beliefs, in the order of ``styles``. An answer with several ratings counts by the last
    one."""
    style_of = {row.answer: row.text for row in rows if row.kind == STYLE}
    rated = {row.answer: row.value for row in rows if row.kind == "rating"}
    out = []
    for style in styles:
        values = [value for answer, value in rated.items() if style_of.get(answer) == style]
        out.append(StylePreference(style, len(values), 1.0 + sum(values), 1.0 + len(values) - sum(values)))
    return out


def choose(known: Sequence[StylePreference], seed: int) -> int:
    """The place of the style to answer in: a draw of each belief, and the best draw."""
    draw = np.random.default_rng(seed)
    return int(np.argmax([draw.beta(one.good, one.bad) for one in known]))


def style_for(store: Store, person: str, styles: Sequence[str]) -> str:
    """The style of a person's next answer. Equal feedback of that person, equal style. Raises InputError for nobody."""
    if not person.strip():
        raise InputError("whose preference?", remedy="say who asks: --person NAME", code="nobody")
    rows = store.signals.all(person=person)
    answers = sum(row.kind == STYLE for row in rows)
    key = f"{person}:{answers}:{sum(row.kind == 'rating' for row in rows)}"
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")
    return styles[choose(preferences(rows, styles), seed)]


def ask_in(style: str, messages: Sequence[Message]) -> list[Message]:
    """The conversation with a style's text told to the model: behind what a system message says already."""
    if messages and messages[0].role == "system":
        return [Message("system", f"{messages[0].content}\n{style}"), *messages[1:]]
    return [Message("system", style), *messages]


@dataclass(frozen=True, slots=True)
class RegretPoint:
    """After so many answers: what was lost against always answering in the person's best style, by Thompson sampling
    and by choosing at random, and the paired difference, means over simulated people."""

    answers: int
    learnt: Interval
    random: Interval
    saved: Interval


def simulate(styles: int, *, people: int = 200, answers: int = 100, seed: int = 0) -> list[RegretPoint]:
    """Regret on people whose liking of each style is drawn from a uniform distribution, and who say yes or no."""
    if not 2 <= styles <= MOST or people < 20 or answers < 1:
        raise InputError(
            f"got {styles} styles, {people} people, {answers} answers",
            remedy=f"expected 2 to {MOST} styles, 20 people or more, and an answer",
        )
    lost = np.array([_person(styles, answers, [seed, person]) for person in range(people)]).cumsum(2)
    marks = sorted({mark for mark in (1, 2, 5, 10, 20, 50, 100, 200, 500) if mark < answers} | {answers})
    return [
        RegretPoint(
            mark,
            _mean(lost[:, 0, mark - 1], mark),
            _mean(lost[:, 1, mark - 1], mark),
            _mean(lost[:, 1, mark - 1] - lost[:, 0, mark - 1], mark),
        )
        for mark in marks
    ]


def _person(styles: int, answers: int, seed: Sequence[int]) -> NDArray[np.float64]:
    """One simulated person: what each answer lost, learnt and at random, shape (2, answers)."""
    draw = np.random.default_rng(seed)
    liking = draw.random(styles)
    good, bad = np.ones(styles), np.ones(styles)
    lost = np.zeros((2, answers))
    for at in range(answers):
        style = int(np.argmax(draw.beta(good, bad)))
        yes = draw.random() < liking[style]
        good[style] += yes
        bad[style] += not yes
        lost[0, at] = liking.max() - liking[style]
        lost[1, at] = liking.max() - liking[draw.integers(styles)]
    return lost


def _mean(values: NDArray[np.float64], most: float) -> Interval:
    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray(values[draws].mean(1), np.float64)

    return percentiles(float(values.mean()), bootstrap(reduce, len(values), 2000, 0), len(values), -most, most)


def table(known: Mapping[str, str] | Sequence[str], rows: Sequence[StoredSignal]) -> list[list[str]]:
    """A person's preferences as rows of texts, best first."""
    found = sorted(preferences(rows, list(known)), key=lambda one: -one.mean)
    return [["style", "rated answers", "believed rating"]] + [
        [one.style, str(one.answers), f"{one.mean:.3f}"] for one in found
    ]
