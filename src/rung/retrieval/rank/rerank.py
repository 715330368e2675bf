"""The best candidates in a better order: rerankers, opened by name.

``words`` is a linear model over what first-stage scores leave out: how much of the query a text covers, how close
together and in which order its words stand. ``sentences`` (``sentences:EMBEDDER``) compares the query with each
sentence and keeps the best, with a stronger embedder than the index may have. ``judge`` asks a language model whether a
passage holds the answer; it is a coroutine for callers that have a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rung.core.errors import InputError, Unsupported
from rung.core.protocols import Embedder, Model
from rung.core.types import Hit, Message, ScoreRequest
from rung.foundations.text.sentences import sentences
from rung.retrieval.keyword.analysis import Analysis

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAR = 4
"""Two terms that are neighbours in the query count as together when the second is at most this many terms behind."""
WINDOW = 24
"""Terms that a passage of a sentence or two has: the best stretch of this length is looked at."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A text that was found: its score in the order it comes in, and the scores that this one was made of (``dense``,
    ``keyword``; one that is missing was not found that way)."""

    text: str
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)


class Reranker(Protocol):
    @property
    def name(self) -> str: ...
    def scores(self, query: str, candidates: Sequence[Retrieved], idf: Mapping[str, float]) -> list[float]:
        """A new score for each candidate, higher is better. ``idf`` is ``KeywordIndex.idf`` of the query; empty: all
        terms weigh the same."""
        ...


def open_reranker(name: str) -> Reranker:
    """``words``, ``sentences`` (with minilm) or ``sentences:EMBEDDER``. Raises InputError for another name."""
    kind, _, argument = name.partition(":")
    if kind == "words" and not argument:
        return WordsReranker()
    if kind == "sentences":
        from rung.models.embed import open_embedder

        return SentencesReranker(open_embedder(argument or "minilm"))
    raise InputError(f"there is no reranker {name!r}", remedy="words, sentences or sentences:EMBEDDER")


# ---------------------------------------------------------------- a linear model over words

FEATURES = ("score", "keyword", "dense", "covered", "stretch", "ordered", "exact")
WEIGHTS = (3.6, -0.6, 1.0, -0.4, 1.8, 0.1, 1.8)


class WordsReranker:
    """The sum of ``features`` times ``weights``, which were learned from pairs of a relevant and another candidate
    (logistic regression on their differences, as RankNet without a hidden layer; Burges et al. 2005) on sets that
    are not among those whose results are published: bench/fusion.py."""

    name = "words"

    def __init__(self, weights: Sequence[float] = WEIGHTS) -> None:
        self._weights = np.array(weights, np.float64)

    def scores(self, query: str, candidates: Sequence[Retrieved], idf: Mapping[str, float]) -> list[float]:
        if not candidates:
            return []
        found: list[float] = (features(query, candidates, idf) @ self._weights).tolist()
        return found


def features(query: str, candidates: Sequence[Retrieved], idf: Mapping[str, float]) -> NDArray[np.float64]:
    """One row of FEATURES for each candidate, all from 0 to 1.

    ``score``, ``keyword``, ``dense``: first-stage scores between the worst and the best candidate's. ``covered``: share
    of the query's terms, weighed by idf, that the text has; ``stretch``: the same for its best stretch of WINDOW terms.
    ``ordered`` and ``exact``: share of the query's pairs of neighbours that stand in this order within NEAR terms, and
    side by side (Metzler and Croft, "A Markov random field model for term dependencies", SIGIR 2005).
    """
    analysis = Analysis()
    terms = analysis.terms(query)
    weights = {term: idf.get(term, 1.0) for term in terms}
    total = sum(weights.values()) or 1.0
    pairs: dict[tuple[str, str], float] = {}
    for one, two in pairwise(terms):
        if one != two:
            pairs[one, two] = weights[one] + weights[two]
    whole = sum(pairs.values()) or 1.0
    rows = np.zeros((len(candidates), len(FEATURES)))
    rows[:, 0] = _spread([candidate.score for candidate in candidates])
    rows[:, 1] = _spread([candidate.parts.get("keyword") for candidate in candidates])
    rows[:, 2] = _spread([candidate.parts.get("dense") for candidate in candidates])
    for row, candidate in zip(rows, candidates, strict=True):
        text = analysis.terms(candidate.text)
        places = [(place, term) for place, term in enumerate(text) if term in weights]
        row[3] = sum(weights[term] for term in {term for _, term in places}) / total
        row[4] = _best_stretch(places, weights) / total
        near, beside = set(), set()
        for index, (place, term) in enumerate(places):
            for later, other in places[index + 1 : index + 1 + NEAR]:
                if later - place > NEAR:
                    break
                if (term, other) in pairs:
                    near.add((term, other))
                    if later == place + 1:
                        beside.add((term, other))
        row[5] = sum(pairs[pair] for pair in near) / whole
        row[6] = sum(pairs[pair] for pair in beside) / whole
    return rows


def _spread(values: Sequence[float | None]) -> list[float]:
    """Between the least and the greatest; a missing one is as the least."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    width = high - low or 1.0
    return [0.0 if value is None else (value - low) / width for value in values]


def _best_stretch(places: Sequence[tuple[int, str]], weights: Mapping[str, float]) -> float:
    """The greatest weight of different terms within WINDOW."""
    best = have = 0.0
    counts: dict[str, int] = {}
    left = 0
    for place, term in places:
        counts[term] = counts.get(term, 0) + 1
        if counts[term] == 1:
            have += weights[term]
        while place - places[left][0] >= WINDOW:
            gone = places[left][1]
            counts[gone] -= 1
            if not counts[gone]:
                have -= weights[gone]
            left += 1
        best = max(best, have)
    return best


# ---------------------------------------------------------------- the best sentence


class SentencesReranker:
    """Half the score that a candidate came with, half its best cosine with the query: of the text as a whole (to the
    embedder's limit) or of one of its sentences. Both are brought to 0..1 over the candidates."""

    def __init__(self, embedder: Embedder, weight: float = 0.5) -> None:
        self._embedder, self._weight = embedder, weight

    @property
    def name(self) -> str:
        return f"sentences:{self._embedder.name}"

    def scores(self, query: str, candidates: Sequence[Retrieved], idf: Mapping[str, float]) -> list[float]:
        if not candidates:
            return []
        pieces: dict[str, int] = {}
        owned = []
        for candidate in candidates:
            text = candidate.text
            own = [text, *(text[span.start : span.end] for span in sentences(text))]
            owned.append([pieces.setdefault(piece, len(pieces)) for piece in own])
        cosines = self._embedder.embed(list(pieces)) @ self._embedder.embed([query])[0]
        best = _spread([float(cosines[own].max()) for own in owned])
        before = _spread([candidate.score for candidate in candidates])
        return [(1 - self._weight) * old + self._weight * new for old, new in zip(before, best, strict=True)]


# ---------------------------------------------------------------- a language model

_ORDER = "Say whether the passage holds what the query asks for. Answer yes or no."


async def judge(model: Model, query: str, hits: Sequence[Hit], words: int = 150) -> list[Hit]:
    """The hits ordered by the model's probability of ``yes`` when asked whether a passage (its first ``words`` words)
    answers the query; equal ones stay as they were. The probability is their ``rerank`` part and their score.

    Pointwise relevance (Nogueira et al., "Document ranking with a pretrained sequence-to-sequence model", 2020): one
    prefill a passage. Raises Unsupported for a model that scores no candidates.
    """
    if not model.capabilities.score:
        raise Unsupported(f"{model.name} does not score candidates", remedy="use the embedded model, or rerank words")
    if not hits:
        return []
    requests = []
    for hit in hits:
        passage = " ".join(hit.passage.text.split()[:words])
        requests.append(
            ScoreRequest(
                (Message("system", _ORDER), Message("user", f"Passage: {passage}\n\nQuery: {query}")), ("yes", "no")
            )
        )
    chances = [math.exp(found.logprobs[0]) for found in await model.score(requests)]
    judged = [
        replace(hit, score=chance, parts={**hit.parts, "rerank": chance})
        for hit, chance in zip(hits, chances, strict=True)
    ]
    return sorted(judged, key=lambda hit: -hit.score)
