"""Ranked retrieval: recall@k, precision@k, hit@k, MRR@k, MAP@k and nDCG@k, as trec_eval computes them.

An output is a list of ids, best first; an id that comes again counts for nothing (its place stays). A reference is the
relevant ids, or a mapping of id to grade, where grades above 0 are relevant. A spec's argument is k: ``ndcg:10``,
``recall:100``; without one k is 10, for ``mrr`` and ``map`` the whole list. nDCG takes a grade as it is for the gain
(trec_eval, BEIR), not 2^grade - 1. Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS
2002.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Case, Score
from rung.metrics.mean import Mean, shown


def ranked(output: Any) -> list[str]:
    """The ids of an output; a single text is one id, None is none."""
    if output is None:
        return []
    if isinstance(output, str) or not isinstance(output, Sequence):
        return [str(output)]
    return [str(id) for id in output]


def grades(reference: Any) -> dict[str, float]:
    """Relevant ids with their grades, all above 0."""
    if isinstance(reference, Mapping):
        return {str(id): float(grade) for id, grade in reference.items() if float(grade) > 0}
    if reference is None:
        return {}
    if isinstance(reference, str) or not hasattr(reference, "__iter__"):
        return {str(reference): 1.0}
    return {str(id): 1.0 for id in reference}


def gains(output: Any, reference: Any, k: int | None = None) -> tuple[list[float], dict[str, float]]:
    """The grade at each of the first ``k`` places (0 for what is not relevant or was there before), and all relevant
    ids."""
    relevant = grades(reference)
    left = dict(relevant)
    return [left.pop(id, 0.0) for id in ranked(output)[:k]], relevant


class Ranking(Mean):
    """One measure cut at ``k`` places; None: the whole list."""

    kind: ClassVar[str]
    depth: ClassVar[int | None] = 10

    def __init__(self, argument: str = "") -> None:
        self.name = f"{self.kind}:{argument}" if argument else self.kind
        self.k = self.depth
        if argument:
            if not argument.isdecimal() or int(argument) < 1:
                raise InputError(
                    f"metric {self.name!r}: got k {argument!r}, expected a number above 0",
                    remedy=f"write {self.kind}:10",
                )
            self.k = int(argument)

    def grade(self, case: Case) -> Score:
        found, relevant = gains(case.output, case.reference, self.k)
        if not relevant:
            return Score(0.0, "the reference has no relevant id")
        places = [place for place, gain in enumerate(found, 1) if gain > 0]
        where = ", ".join(map(str, places[:5])) + (", …" if len(places) > 5 else "")
        why = f"{len(places)} of {len(relevant)} relevant" + (
            f", at {where}" if places else f" in {shown(case.output)}"
        )
        return Score(self.measure(found, relevant), why)

    @abstractmethod
    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        """The value from the gains at each place and all relevant ids with their grades (at least one)."""


class RecallAt(Ranking):
    """The share of the relevant ids that is found."""

    kind = "recall"

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        return sum(gain > 0 for gain in found) / len(relevant)


class Precision(Ranking):
    """The share of k places that has a relevant id; places that the list does not fill count as wrong."""

    kind = "precision"

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        return sum(gain > 0 for gain in found) / (self.k or len(found) or 1)


class HitRate(Ranking):
    """1 when any relevant id is found."""

    kind = "hit"

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        return float(any(gain > 0 for gain in found))


class Mrr(Ranking):
    """One over the place of the first relevant id."""

    kind = "mrr"
    depth = None

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        return next((1 / place for place, gain in enumerate(found, 1) if gain > 0), 0.0)


class Map(Ranking):
    """Average precision: precision at the place of each relevant id, those not found counting 0."""

    kind = "map"
    depth = None

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        total, hits = 0.0, 0
        for place, gain in enumerate(found, 1):
            if gain > 0:
                hits += 1
                total += hits / place
        return total / len(relevant)


class Ndcg(Ranking):
    """Discounted gain, 1 / log2(place + 1), as a share of the best possible."""

    kind = "ndcg"

    def measure(self, found: Sequence[float], relevant: Mapping[str, float]) -> float:
        best = sorted(relevant.values(), reverse=True)[: self.k]
        return _discounted(found) / _discounted(best)


def _discounted(found: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(found, 1))


def _opener(kind: type[Ranking]) -> Callable[[str, Resources], Ranking]:
    def open_ranking(argument: str, resources: Resources) -> Ranking:
        return kind(argument)

    return open_ranking


open_recall, open_precision, open_hit = _opener(RecallAt), _opener(Precision), _opener(HitRate)
open_mrr, open_map, open_ndcg = _opener(Mrr), _opener(Map), _opener(Ndcg)
