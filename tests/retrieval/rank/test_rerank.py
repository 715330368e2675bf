"""Rerankers: features by hand, the order they make, and what the language model is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from rung.core.errors import InputError, Unsupported
from rung.core.types import Capabilities, Hit, Passage, ScoreRequest, Scores
from rung.models.providers.fake import Fake
from rung.retrieval.rank.rerank import (
    FEATURES,
    Retrieved,
    SentencesReranker,
    WordsReranker,
    features,
    judge,
    open_reranker,
)

QUERY = "capital of old Norway"


def row(text: str, idf: dict[str, float] | None = None) -> dict[str, float]:
    found = features(QUERY, [Retrieved(text, 1.0)], idf or {})
    return dict(zip(FEATURES, found[0].tolist(), strict=True))


def test_coverage_and_order_by_hand() -> None:
    whole = row("Oslo is the capital of old Norway.")
    assert [whole[name] for name in ("covered", "stretch", "ordered", "exact")] == [1, 1, 1, 1]
    apart = row("the capital city is old, as Norway is")  # capital city old norway
    assert apart["covered"] == 1
    assert apart["ordered"] == 1
    assert apart["exact"] == pytest.approx(0.5), "old Norway stand side by side, capital and old do not"
    turned = row("Norway's old capital")
    assert (turned["covered"], turned["ordered"]) == (1, 0)
    assert row("nothing of it")["covered"] == 0
    assert row("")["stretch"] == 0


def test_rare_terms_weigh_more() -> None:
    idf = {"capit": 1.0, "old": 1.0, "norwai": 6.0, "norway": 6.0}
    assert row("Norway", idf)["covered"] > 0.7
    assert row("old capital", idf)["covered"] < 0.3


def test_a_stretch_counts_what_stands_together() -> None:
    gap = "word " * 40
    assert row(f"capital {gap} old Norway")["stretch"] == pytest.approx(2 / 3)
    assert row(f"Norway {gap} Norway {gap} Norway")["stretch"] == pytest.approx(1 / 3)


def test_first_stage_scores_are_spread_between_worst_and_best() -> None:
    candidates = [
        Retrieved("a", 3.0, {"keyword": 8.0, "dense": 0.7}),
        Retrieved("b", 2.0, {"keyword": 4.0}),
        Retrieved("c", 1.0, {"dense": 0.5}),
    ]
    found = features(QUERY, candidates, {})
    assert found[:, :3].tolist() == [[1, 1, 1], [0.5, 0, 0], [0, 0, 0]]


def test_words_prefer_the_text_that_says_the_query() -> None:
    same = {"keyword": 5.0, "dense": 0.5}
    texts = [
        "Old towns. A capital needs money, which Norway has.",
        "The capital of old Norway was Bergen.",
        "Something else.",
    ]
    scores = WordsReranker().scores(QUERY, [Retrieved(text, 1.0, same) for text in texts], {})
    assert scores[1] > scores[0] > scores[2]
    assert WordsReranker().scores(QUERY, [], {}) == []


class Letters:
    """Cosines that can be worked out: a vector of which letters a to d a text has."""

    name = fingerprint = "letters"
    dimensions = 4

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.array([[letter in text for letter in "abcd"] for text in texts], np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.where(norms == 0, 1, norms), np.float32)


def test_the_best_sentence_decides() -> None:
    candidates = [Retrieved("x ab.", 2.0), Retrieved("Z abcd. Y c. Q ab.", 1.0), Retrieved("c", 0.0)]
    reranker = SentencesReranker(Letters(), weight=1.0)
    assert reranker.name == "sentences:letters"
    assert reranker.scores("ab", candidates, {}) == pytest.approx([1, 1, 0])
    half = SentencesReranker(Letters()).scores("ab", candidates, {})
    assert half == pytest.approx([1.0, 0.75, 0.0])
    assert reranker.scores("ab", [], {}) == []


def test_names() -> None:
    assert open_reranker("words").name == "words"
    with pytest.raises(InputError, match="no reranker 'word'"):
        open_reranker("word")


class Reader(Fake):
    """Says yes to passages by how often they have ``x``."""

    def __init__(self, score: bool = True) -> None:
        super().__init__(capabilities=Capabilities(score=score))
        self.asked: list[ScoreRequest] = []

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        self.asked += requests
        found = []
        for request in requests:
            chance = min(0.9, 0.1 + 0.2 * request.messages[-1].content.count("x"))
            found.append(Scores((math.log(chance), math.log(1 - chance)), int(chance < 0.5)))
        return found


def hit(id: str, text: str) -> Hit:
    return Hit(Passage(id, id, 0, len(text), text), 1.0, {"dense": 0.5})


async def test_the_model_is_asked_of_each_passage() -> None:
    model = Reader()
    hits = [hit("a", "one"), hit("b", "x x x"), hit("c", "two"), hit("d", "x " + "long " * 500)]
    found = await judge(model, "which?", hits, words=20)
    assert [each.passage.id for each in found] == ["b", "d", "a", "c"], "equal ones stay as they were"
    assert found[0].parts == pytest.approx({"dense": 0.5, "rerank": 0.7})
    assert all("which?" in request.messages[-1].content for request in model.asked)
    assert max(len(request.messages[-1].content.split()) for request in model.asked) < 30
    assert await judge(model, "which?", []) == []


async def test_a_model_that_cannot_score_is_said() -> None:
    with pytest.raises(Unsupported, match="does not score"):
        await judge(Reader(score=False), "q", [hit("a", "b")])
