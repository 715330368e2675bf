"""What behaviour says of answers: how far it agrees with what people say, measured before anything is learnt from it;
and who answers a survey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.alignment.people.feedback import IMPLICIT, SHOWN
from rung.core.errors import InputError
from rung.core.types import Interval
from rung.metrics.stats import bootstrap, percentiles, wilson
from rung.store import StoredSignal

ENOUGH = 100
"""Answers with both a rating and a signal that a kind of signal must be measured on."""


@dataclass(frozen=True, slots=True)
class Earned:
    """How a kind of behaviour goes with explicit ratings over ``answers`` that have been rated: Spearman's correlation,
    its sign turned so that above 0 is as it should be (None: nothing to correlate). It may be learnt from when it is
    ``earned``."""

    kind: str
    answers: int
    agreement: Interval | None

    @property
    def earned(self) -> bool:
        return self.agreement is not None and self.answers >= ENOUGH and self.agreement.low > 0

    @property
    def why(self) -> str:
        """In a sentence."""
        if self.answers < ENOUGH:
            return f"not earned: {ENOUGH - self.answers} more rated answers are needed"
        if self.agreement is None:
            return "not earned: nothing varies"
        return "earned" if self.earned else "not earned: the interval does not lie above 0"


def measure(rows: Sequence[StoredSignal]) -> list[Earned]:
    """Every kind of behaviour against the mean rating of the same answer. An answer without a signal of a kind that was
    seen at all counts as 0 of it: whoever logs copies, logs all of them."""
    ratings: dict[str, list[float]] = {}
    done: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.kind == "rating":
            ratings.setdefault(row.answer, []).append(row.value)
        elif row.kind in IMPLICIT:
            done.setdefault(row.kind, {})[row.answer] = row.value
    rated = {answer: float(np.mean(values)) for answer, values in ratings.items()}
    return [_earned(kind, sign, done[kind], rated) for kind, sign in IMPLICIT.items() if kind in done]


def _earned(kind: str, sign: int, done: Mapping[str, float], rated: Mapping[str, float]) -> Earned:
    answers = sorted(rated)
    one = np.array([rated[answer] for answer in answers])
    other = sign * np.array([done.get(answer, 0.0) for answer in answers])
    if len(answers) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Earned(kind, len(answers), None)

    def correlate(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([_spearman(one[draw], other[draw]) for draw in draws])

    value = _spearman(one, other)
    found = percentiles(value, bootstrap(correlate, len(answers), 1000, 0), len(answers), -1.0, 1.0)
    return Earned(kind, len(answers), found)


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(other)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def rewards(rows: Sequence[StoredSignal], kinds: Sequence[str]) -> dict[str, float]:
    """Answers' rewards from behaviour, 0 to 1, by kinds that are earned. Raises InputError for one that is not."""
    found = {one.kind: one for one in measure(rows)}
    for kind in kinds:
        if kind not in found or not found[kind].earned:
            why = found[kind].why if kind in found else "not earned: it was never seen"
            raise InputError(
                f"{kind} cannot be learnt from yet: {why}", remedy="rung feedback signals", code="unearned"
            )
    out: dict[str, list[float]] = {}
    for row in rows:
        if row.kind in kinds:
            out.setdefault(row.answer, []).append(row.value if IMPLICIT[row.kind] > 0 else 1 - row.value)
    return {answer: float(np.mean(values)) for answer, values in out.items()}


@dataclass(frozen=True, slots=True)
class Survey:
    """A question that ``shown`` people were asked and ``answered`` of them answered: the ``rate``, the mean answer, and
    how those who answered differ from those who did not in what is known of both: (trait, mean of those who answered,
    of the others, p)."""

    shown: int
    answered: int
    rate: Interval
    mean: float
    traits: tuple[tuple[str, float, float, float], ...]

    @property
    def biased(self) -> bool:
        """Who answers differs from who does not, so the mean is not everybody's."""
        return any(p < 0.05 / max(1, len(self.traits)) for *_, p in self.traits)


def survey(rows: Sequence[StoredSignal]) -> Survey:
    """What the survey says, and of whom. Raises InputError where it was never shown."""
    shown = {row.answer for row in rows if row.kind == SHOWN}
    said = {row.answer: row.value for row in rows if row.kind == "survey" and row.answer in shown}
    if not shown:
        raise InputError("the survey was never shown", remedy="log survey-shown with each answer it was put beside")
    traits = []
    for kind in IMPLICIT:
        done = {row.answer: row.value for row in rows if row.kind == kind}
        if not done:
            continue
        mine = [done.get(answer, 0.0) for answer in shown if answer in said]
        theirs = [done.get(answer, 0.0) for answer in shown if answer not in said]
        if mine and theirs:
            traits.append((kind, float(np.mean(mine)), float(np.mean(theirs)), _apart(mine, theirs)))
    mean = float(np.mean(list(said.values()))) if said else 0.0
    return Survey(len(shown), len(said), wilson(len(said), len(shown)), mean, tuple(traits))


def _apart(one: Sequence[float], other: Sequence[float], resamples: int = 2000) -> float:
    """The two-sided p-value of a permutation test that two groups have one mean."""
    both, count = np.array([*one, *other]), len(one)
    apart = abs(np.mean(one) - np.mean(other)) - 1e-12
    draw = np.random.default_rng(0)
    hits = 0
    for _ in range(resamples):
        order = draw.permutation(both)
        hits += abs(order[:count].mean() - order[count:].mean()) >= apart
    return float((1 + hits) / (1 + resamples))
