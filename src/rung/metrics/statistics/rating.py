"""What people's verdicts on pairs of answers say: win rates, strengths, how far raters agree, what the side did.

Examples are the units that intervals resample: verdicts of several raters on one example are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from rung.core.errors import InputError
from rung.core.types import Interval, Score
from rung.metrics.mean import VALUES, tally
from rung.metrics.stats import FEW, bootstrap, interval, percentiles, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

Verdict = Literal["left", "right", "tie", "bad"]
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "bad")

ELO_MEAN = 1000.0
_ELO = 400 / math.log(10)
_PRIOR = 0.5


@dataclass(frozen=True, slots=True)
class Vote:
    """One rater's verdict on the answers of rungs ``left`` and ``right`` to one example."""

    example: str
    rater: str
    left: str
    right: str
    verdict: Verdict

    @property
    def winner(self) -> str:
        """The rung that won; ``tie`` and ``bad`` are themselves, with a mark that no rung's name has."""
        return {"left": self.left, "right": self.right}.get(self.verdict, "\0" + self.verdict)

    @property
    def pair(self) -> tuple[str, str]:
        one, other = sorted((self.left, self.right))
        return one, other


@dataclass(frozen=True, slots=True)
class Duel:
    """Two rungs. ``rate``: mean over ``examples`` of what ``one`` got there (1 win, 0.5 tie or both bad, 0 loss)."""

    one: str
    other: str
    wins: int
    losses: int
    ties: int
    bad: int
    examples: int
    rate: Interval


@dataclass(frozen=True, slots=True)
class Strength:
    """A rung on the Elo scale: 400 points are odds of ten to one; the mean over the rungs is 1000."""

    rung: str
    elo: Interval


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """Kappa of ``raters`` over the ``items`` that at least two of them judged: Cohen's for two, Fleiss' for more."""

    raters: tuple[str, ...]
    items: int
    kappa: Interval


@dataclass(frozen=True, slots=True)
class Ratings:
    """All of it. ``left`` is the share of decided verdicts that went to the left side, ``side_p`` the exact two-sided p
    of a fair coin (sides were drawn by one). None where nothing was decided."""

    votes: int
    raters: tuple[tuple[str, int], ...]
    duels: tuple[Duel, ...]
    strengths: tuple[Strength, ...]
    agreement: tuple[RaterAgreement, ...]
    left: Interval | None
    side_p: float


def summarise(votes: Sequence[Vote], *, resamples: int = 2000, seed: int = 0) -> Ratings:
    """Everything that the verdicts say. Raises InputError without any."""
    if not votes:
        raise InputError("nobody has rated anything yet", remedy="rung rate RUN RUNG_A RUNG_B")
    raters = sorted({vote.rater for vote in votes})
    left = sum(vote.verdict == "left" for vote in votes)
    decided = left + sum(vote.verdict == "right" for vote in votes)
    groups: list[tuple[str, ...]] = [*combinations(raters, 2), *([tuple(raters)] if len(raters) > 2 else [])]
    agreement = [found for group in groups if (found := _agree(votes, group, resamples, seed)) is not None]
    return Ratings(
        len(votes),
        tuple((rater, sum(vote.rater == rater for vote in votes)) for rater in raters),
        tuple(_duel(votes, pair) for pair in sorted({vote.pair for vote in votes})),
        strengths(votes, resamples=resamples, seed=seed),
        tuple(agreement),
        wilson(left, decided) if decided else None,
        _coin(left, decided),
    )


def _coin(heads: int, n: int) -> float:
    """Exact two-sided p of a fair coin."""
    few = min(heads, n - heads)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(few + 1)) / (1 << n))


def _duel(votes: Sequence[Vote], pair: tuple[str, str]) -> Duel:
    one, other = pair
    mine = [vote for vote in votes if vote.pair == pair]
    winners = [vote.winner for vote in mine]
    by_example: dict[str, list[float]] = {}
    for vote in mine:
        by_example.setdefault(vote.example, []).append(_points(vote, one))
    scores = [Score(sum(points) / len(points)) for points in by_example.values()]
    return Duel(
        one,
        other,
        winners.count(one),
        winners.count(other),
        winners.count("\0tie"),
        winners.count("\0bad"),
        len(scores),
        interval(VALUES, scores),
    )


def _points(vote: Vote, rung: str) -> float:
    return 0.5 if vote.verdict in ("tie", "bad") else float(vote.winner == rung)


# ---------------------------------------------------------------- strengths


def strengths(
    votes: Sequence[Vote], *, prior: float = _PRIOR, resamples: int = 2000, seed: int = 0
) -> tuple[Strength, ...]:
    """Bradley-Terry strengths on the Elo scale with percentile bootstrap intervals over examples, strongest first.

    Ties and "both bad" are half a win for each. ``prior``: wins that every rung is given against every other
    beforehand, so that one that never lost keeps a finite strength.
    """
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    examples = sorted({vote.example for vote in votes})
    place = {name: i for i, name in enumerate(names)}
    row = {name: i for i, name in enumerate(examples)}
    wins = np.zeros((len(examples), len(names), len(names)))
    for vote in votes:
        a, b = place[vote.left], place[vote.right]
        points = _points(vote, vote.left)
        wins[row[vote.example], a, b] += points
        wins[row[vote.example], b, a] += 1 - points
    flat = wins.reshape(len(examples), -1)

    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        sums = (tally(draws, len(examples)) @ flat).reshape(-1, len(names), len(names))
        return _elo(sums, prior)

    value = _elo(wins.sum(axis=0)[None], prior)[0]
    ends = np.quantile(bootstrap(reduce, len(examples), resamples, seed), [0.025, 0.975], axis=0)
    # What was not seen counts too: with as many of the verdicts the other way round as may be among unseen examples.
    share = 1 - 0.025 ** (1 / len(examples))
    half = np.abs(value - _elo((wins.sum(axis=0) * (1 - share) + wins.sum(axis=0).T * share)[None], prior)[0])
    if len(examples) < FEW or np.ptp(ends, axis=0).max() < 1e-6:
        ends = np.stack([np.minimum(ends[0], value - half), np.maximum(ends[1], value + half)])
    found = [
        Strength(name, Interval(float(value[i]), float(ends[0, i]), float(ends[1, i]))) for i, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda one: -one.elo.value))


def _elo(wins: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    padded = wins + prior * (1 - np.eye(wins.shape[-1]))
    points: NDArray[np.float64] = ELO_MEAN + _ELO * bradley_terry(padded)
    return points


def bradley_terry(wins: NDArray[np.float64], *, rounds: int = 5000) -> NDArray[np.float64]:
    """Log-strengths of mean 0 for each table of ``wins`` (row beat column), shape (tables, k, k) to (tables, k).

    The minorise-maximise algorithm of Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of
    Statistics 32(1), 2004. Every rung must have won and lost something (see ``prior`` of ``strengths``).
    """
    total = wins.sum(axis=2)
    games = wins + wins.transpose(0, 2, 1)
    games = games * (1 - np.eye(wins.shape[-1]))
    logs: NDArray[np.float64] = np.zeros(total.shape)
    for _ in range(rounds):
        power = np.exp(logs)
        fresh: NDArray[np.float64] = np.log(total) - np.log(
            (games / (power[:, :, None] + power[:, None, :])).sum(axis=2)
        )
        fresh -= fresh.mean(axis=1, keepdims=True)
        moved = float(np.abs(fresh - logs).max())
        logs = fresh
        if moved < 1e-9:
            break
    return logs


# ---------------------------------------------------------------- agreement


def cohen(mine: Sequence[str], theirs: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Cohen's kappa (1960) of two raters' categories, item by item, with its percentile bootstrap interval over items.

    Unweighted: "both bad" has no place on a scale from left to right. Where chance alone would make them agree always
    (one category) it is 1, if they do. Raises InputError unless there are two or more items, as many of each.
    """
    if len(mine) != len(theirs) or len(mine) < 2:
        raise InputError(f"got {len(mine)} and {len(theirs)} verdicts, expected two or more pairs", remedy="rate more")
    kinds = sorted({*mine, *theirs})
    a, b = (np.array([[one == kind for kind in kinds] for one in side], dtype=np.float64) for side in (mine, theirs))

    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        weight = tally(draws, len(a)) / len(a)
        return _kappa(weight @ (a * b).sum(axis=1), ((weight @ a) * (weight @ b)).sum(axis=1))

    return _ends(reduce, len(a), resamples, seed)


def fleiss(counts: NDArray[np.float64], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Fleiss' kappa (1971) of ``counts``, shape (items, categories): how many raters put the item there.

    Items may have different numbers of raters, two at least; each weighs the same, as in Gwet, "Handbook of inter-rater
    reliability" (4th ed. 2014), ch. 2. Percentile bootstrap interval over items. Raises InputError for fewer than two
    items.
    """
    raters = counts.sum(axis=1)
    if len(counts) < 2 or (raters < 2).any():
        raise InputError("expected two or more items, each with two or more verdicts", remedy="rate more")
    agreed = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))
    shares = counts / raters[:, None]

    def reduce(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        weight = tally(draws, len(counts)) / len(counts)
        return _kappa(weight @ agreed, ((weight @ shares) ** 2).sum(axis=1))

    return _ends(reduce, len(counts), resamples, seed)


def _kappa(observed: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    sure = chance > 1 - 1e-12
    found: NDArray[np.float64] = np.where(sure, 1.0, (observed - chance) / np.where(sure, 1.0, 1 - chance))
    return found


def _ends(reduce: Callable[[NDArray[np.intp]], NDArray[np.float64]], n: int, resamples: int, seed: int) -> Interval:
    value = float(reduce(np.arange(n)[None, :])[0])
    return percentiles(value, bootstrap(reduce, n, resamples, seed), n, -1.0, 1.0)


def _agree(votes: Sequence[Vote], raters: tuple[str, ...], resamples: int, seed: int) -> RaterAgreement | None:
    items: dict[tuple[str, tuple[str, str]], dict[str, str]] = {}
    for vote in votes:
        if vote.rater in raters:
            items.setdefault((vote.example, vote.pair), {})[vote.rater] = _side(vote)
    shared = [said for said in items.values() if len(said) > 1]
    if len(shared) < 2:
        return None
    if len(raters) == 2:
        mine, theirs = ([said[rater] for said in shared] for rater in raters)
        return RaterAgreement(raters, len(shared), cohen(mine, theirs, resamples=resamples, seed=seed))
    kinds = ("one", "other", "tie", "bad")
    counts = np.array([[list(said.values()).count(kind) for kind in kinds] for said in shared], dtype=np.float64)
    return RaterAgreement(raters, len(shared), fleiss(counts, resamples=resamples, seed=seed))


def _side(vote: Vote) -> str:
    """The verdict without the side on which an answer stood, which differs between raters."""
    if vote.verdict in ("tie", "bad"):
        return vote.verdict
    return "one" if vote.winner == vote.pair[0] else "other"
