"""Corpus BLEU and chrF, equal to sacrebleu's defaults but on the scale 0 to 1, also under resampling.

BLEU: Papineni et al. 2002, tokenizer 13a, exponential smoothing (Post 2018); letters of scripts without spaces between
words are tokens by themselves, as in sacrebleu's ``zh``. chrF2: Popović 2015, character n-grams to 6.
An item's ``parts`` are its n-gram counts; the metric is computed from their sums, once for every resample. An item's
``value`` (sentence BLEU with effective order; sentence chrF) is for reading: the corpus metric is not its mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.system.extras import require
from rung.core.types import Case, Score
from rung.foundations.text.words import spaced, visible
from rung.metrics.mean import CorpusMetric, references

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDER = 4
_CHARS = 6


@cache
def _sacrebleu() -> Any:
    # effective_order changes the sentence's score only, not its counts.
    return require("sacrebleu.metrics", "text", "the metric bleu").BLEU(effective_order=True)


def _hypothesis(case: Case) -> str:
    return "" if case.failure is not None or case.output is None else visible(str(case.output))


def _why(name: str, value: float, case: Case) -> str:
    if case.failure is not None:
        return f"failed at {case.failure.where}: {case.failure.message}"
    return f"sentence {name} {100 * value:.1f}"


class Bleu(CorpusMetric):
    """Corpus BLEU. Parts: hypothesis length, reference length, matches of 4 orders, hypothesis n-grams of 4 orders."""

    name = "bleu"

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        scores = []
        for case in cases:
            wanted = [spaced(visible(str(option))) for option in references(case)]
            found = _sacrebleu().sentence_score(spaced(_hypothesis(case)), wanted)
            parts = (found.sys_len, found.ref_len, *found.counts, *found.totals)
            value = min(found.score / 100, 1.0)
            scores.append(Score(value, _why("BLEU", value, case), tuple(map(float, parts))))
        return scores

    def combine(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        given, expected = sums[:, 0], sums[:, 1]
        right, total = sums[:, 2 : 2 + _ORDER], sums[:, 2 + _ORDER :]
        penalty = np.where(given < expected, np.exp(1 - expected / np.maximum(given, 1)), 1.0)
        # Exponential smoothing: the k-th order without a match counts as 1 / 2**k matches.
        missed = np.cumsum(right == 0, axis=1)
        smoothed = np.where(right == 0, 0.5**missed, right)
        with np.errstate(divide="ignore"):
            logs = np.where(total > 0, np.log(smoothed / np.maximum(total, 1)), -np.inf)
        value = np.minimum(penalty * np.exp(logs.mean(axis=1)), 1.0)
        result: NDArray[np.float64] = np.where(right.any(axis=1) & (given > 0), value, 0.0)
        return result


def _grams(text: str) -> list[Counter[str]]:
    solid = "".join(text.split())
    return [Counter(solid[i : i + n] for i in range(len(solid) - n + 1)) for n in range(1, _CHARS + 1)]


def _chrf_parts(hypothesis: str, options: Sequence[str]) -> tuple[float, ...]:
    got = _grams(hypothesis)
    best: tuple[float, ...] = ()
    highest = -1.0
    for option in options:
        parts: list[float] = []
        for mine, theirs in zip(got, _grams(option), strict=True):
            hits = sum(min(mine[gram], theirs[gram]) for gram in mine.keys() & theirs.keys())
            parts += [float(mine.total() if theirs else 0), float(theirs.total()), float(hits)]
        value = float(_chrf(np.array([parts]))[0])
        if value > highest:
            highest, best = value, tuple(parts)
    return best


def _chrf(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    given, expected, right = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counted = (given > 0) & (expected > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = np.where(counted, right / np.maximum(given, 1), 0.0).sum(axis=1) / orders
    recall = np.where(counted, right / np.maximum(expected, 1), 0.0).sum(axis=1) / orders
    below = 4 * precision + recall
    value: NDArray[np.float64] = np.where(below > 0, 5 * precision * recall / np.where(below > 0, below, 1.0), 0.0)
    return value


class Chrf(CorpusMetric):
    """Corpus chrF2. Parts: for each of 6 orders the hypothesis' n-grams, the reference's, and the matches."""

    name = "chrf"

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        scores = []
        for case in cases:
            parts = _chrf_parts(_hypothesis(case), [visible(str(option)) for option in references(case)])
            value = float(_chrf(np.array([parts]))[0])
            scores.append(Score(value, _why("chrF", value, case), parts))
        return scores

    def combine(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return _chrf(sums)


BLEU = Bleu()
CHRF = Chrf()
