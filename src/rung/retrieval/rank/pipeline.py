"""A search in stages: dense and keyword candidates, fused, reranked, made diverse, and filled with their passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rung.core.protocols import Filter
from rung.core.types import Hit, Passage, Span
from rung.foundations.text.mmr import mmr
from rung.retrieval.keyword.highlight import highlight
from rung.retrieval.rank.fuse import fuse
from rung.retrieval.rank.options import SearchOptions
from rung.retrieval.rank.rerank import Reranker, Retrieved, open_reranker

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ranking = list[tuple[int, float]]
"""Rows with their scores, best first."""


class Candidates(Protocol):
    """Where candidates come from: a collection at one generation. Passages are known by their row."""

    def dense(self, vectors: NDArray[np.float32], k: int, where: Filter | None) -> list[Ranking]: ...
    def keyword(self, queries: Sequence[str], k: int, where: Filter | None) -> list[Ranking]: ...
    def max_score(self, query: str) -> tuple[float, int]:
        """The keyword score that no passage can quite reach, and how many terms the query has."""
        ...

    def idf(self, query: str) -> dict[str, float]: ...
    def passages(self, rows: Sequence[int]) -> dict[int, Passage]: ...
    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32] | None:
        """The vectors of rows; None where one has none."""
        ...


@dataclass(slots=True)
class _Query:
    """A query on its way: the order so far and what each score was made of."""

    text: str
    order: Ranking
    parts: dict[int, dict[str, float]] = field(default_factory=dict)


def run(
    source: Candidates, queries: Sequence[str], vectors: NDArray[np.float32] | None, options: SearchOptions
) -> list[list[Hit]]:
    """The hits of each query. ``vectors`` are the queries' (None: the words alone are searched)."""
    several = options.mode == "hybrid" or options.diversity is not None or options.rerank is not None
    depth = max(options.k, options.depth) if several else options.k
    nothing: list[Ranking] = [[] for _ in queries]
    dense = nothing if vectors is None or options.mode == "keyword" else source.dense(vectors, depth, options.where)
    words = nothing if options.mode == "dense" else source.keyword(queries, depth, options.where)
    out = []
    for text, near, said in zip(queries, dense, words, strict=True):
        query = _fuse(source, text, near, said, options, vectors is not None)
        texts: dict[int, Passage] = {}
        if options.rerank is not None:
            texts = _rerank(source, query, options.rerank, options.depth)
        if options.diversity is not None:
            _diversify(source, query, options.k, options.diversity)
        out.append(_fill(source, query, texts, options))
    return out


def _fuse(source: Candidates, text: str, dense: Ranking, words: Ranking, options: SearchOptions, both: bool) -> _Query:
    query = _Query(text, dense if options.mode == "dense" else words)
    for name, ranking in (("dense", dense), ("keyword", words)):
        for row, score in ranking:
            query.parts.setdefault(row, {})[name] = score
    if options.mode == "hybrid" and both:
        query.order = fuse(dense, words, options.fusion, options.weight, source.max_score(text))
    return query


def _rerank(source: Candidates, query: _Query, name: str, depth: int) -> dict[int, Passage]:
    """Order the first ``depth`` again; gives their passages."""
    order = query.order[:depth]
    texts = source.passages([row for row, _ in order])
    order = [(row, score) for row, score in order if row in texts]
    given = [Retrieved(texts[row].text, score, dict(query.parts.get(row, {}))) for row, score in order]
    scores = _reranker(name).scores(query.text, given, source.idf(query.text))
    for (row, _), score in zip(order, scores, strict=True):
        query.parts.setdefault(row, {})["rerank"] = score
    ranked = [(row, score) for (row, _), score in zip(order, scores, strict=True)]
    query.order = sorted(ranked, key=lambda item: -item[1])
    return texts


@lru_cache(maxsize=4)
def _reranker(name: str) -> Reranker:
    return open_reranker(name)


def _diversify(source: Candidates, query: _Query, k: int, weight: float) -> None:
    """The k that are good and unlike one another: scores brought to 0..1 against cosines."""
    vectors = source.vectors([row for row, _ in query.order])
    if vectors is None or not query.order:
        return
    scores = np.array([score for _, score in query.order], np.float32)
    low, high = float(scores.min()), float(scores.max())
    relevance = (scores - low) / (high - low) if high > low else np.ones(len(scores), np.float32)
    query.order = [query.order[place] for place in mmr(relevance, lambda at: vectors @ vectors[at], k, weight)]


def _fill(source: Candidates, query: _Query, texts: Mapping[int, Passage], options: SearchOptions) -> list[Hit]:
    """The first k with their passages and highlights."""
    order = query.order[: options.k]
    texts = texts or source.passages([row for row, _ in order])
    order = [(row, score) for row, score in order if row in texts]
    spans: list[tuple[Span, ...]] = [()] * len(order)
    if options.highlights:
        spans = highlight(query.text, [texts[row].text for row, _ in order])
    return [
        Hit(texts[row], float(score), query.parts.get(row, {}), span)
        for (row, score), span in zip(order, spans, strict=True)
    ]
