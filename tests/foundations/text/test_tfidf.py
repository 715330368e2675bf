"""Similarity by postings is the cosine of the rows that ``transform`` makes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rung.foundations.text.tfidf import Similar, Tfidf, top

WORDS = [
    "the",
    "my",
    "card",
    "parcel",
    "refund",
    "password",
    "lost",
    "Straße",
    "naïve",
    "3.50",
    "stolen",
    "top-up",
    "late",
    "again",
    "where",
    "is",
    "was",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(400)]


QUERIES = ["where is my card", "", "   ", "zzz", "The THE the", "naïve Straße 3.50!", "parcel " * 50, "\x00 ☃", "a"]


def test_learning_reads_as_fit_and_transform_do(texts: list[str]) -> None:
    learnt, rows = Tfidf.learn(texts)
    assert abs(rows - Tfidf.fit(texts).transform(texts)).max() == 0
    assert abs(learnt.transform(texts) - rows).max() == 0


@pytest.mark.parametrize("query", QUERIES)
def test_one_row_is_the_row_of_transform(texts: list[str], query: str) -> None:
    tfidf = Tfidf.fit(texts)
    whole = tfidf.transform([query]).toarray()[0]
    features, weights = tfidf.row(query)
    dense = np.zeros_like(whole)
    dense[features] = weights
    assert weights.dtype == np.float32
    np.testing.assert_allclose(dense, whole, atol=1e-6)
    restored = np.zeros_like(whole)
    features, weights = Tfidf.restore(tfidf.arrays()).row(query)
    restored[features] = weights
    np.testing.assert_allclose(restored, whole, atol=1e-6)


@pytest.mark.parametrize("query", QUERIES)
def test_similar_is_the_cosine_with_every_row(texts: list[str], query: str) -> None:
    similar = Similar(texts)
    expected = (similar.rows @ similar.tfidf.transform([query]).T).toarray()[:, 0]
    np.testing.assert_allclose(similar(query), expected, atol=1e-6)
    assert similar(query).shape == (len(texts),)


def test_a_text_is_most_similar_to_itself(texts: list[str]) -> None:
    similar = Similar(texts)
    for row in range(0, len(texts), 37):
        scores = similar(texts[row])
        assert scores[row] == pytest.approx(1.0, abs=1e-5)
        assert scores.max() == pytest.approx(1.0, abs=1e-5)


def test_top_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for k in (0, 1, 5, 49, 50, 80):
        values = rng.integers(0, 6, 50).astype(np.float32)  # many ties
        assert top(values, k) == list(np.argsort(-values, kind="stable")[:k])
    assert top(np.array([-np.inf, 1.0, -np.inf], np.float32), 2) == [1, 0]
