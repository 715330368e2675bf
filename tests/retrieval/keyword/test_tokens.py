"""Words of many texts at once are the words of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.retrieval.keyword import tokens
from rung.retrieval.keyword.analysis import PLAIN, Analysis, fold
from rung.retrieval.keyword.keyword import FEW, KeywordIndex
from rung.retrieval.keyword.tokens import split


def same(texts: list[str]) -> None:
    words, places, counts = split(texts, PLAIN, fold)
    assert len(set(words)) == len(words)
    found = [words[place] for place in places.tolist()]
    expected = [Analysis().tokens(text) for text in texts]
    assert counts.tolist() == [len(own) for own in expected]
    assert found == [word for own in expected for word in own]


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_texts(texts: list[str]) -> None:
    same(texts)


LONG = "a" * 24
CASES: list[list[str]] = [
    [],
    [""],
    ["", " ", "one", ""],
    ["Café naïve “Ah!” 世界 ﬁne İstanbul straße 𝕬𝖇 ℕ ㎒", "plain words only"],
    [LONG, LONG + "b", LONG + "c", LONG + "b", "a" * 8, "a" * 9, "a" * 16, "a" * 17, "\x00\x01 a\x00b"],
    ["end", "of" * 3000, "x"],
]


@pytest.mark.parametrize("texts", CASES)
def test_edges(texts: list[str]) -> None:
    same(texts)


def test_words_that_share_a_slot_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hashes equal in the first rounds: what decides is the words themselves."""
    monkeypatch.setattr(tokens, "_MIXES", (1 << 40, 1 << 41, 1 << 42))
    same([" ".join(f"word{number % 50}" for number in range(500)), "word1 word2 other"])


def test_an_index_of_many_is_the_index_of_one_by_one() -> None:
    texts = [f"amber {number % 7} kelp{number % 13} Ünder" for number in range(300)]
    ids = [f"t{number}" for number in range(300)]
    many, single = KeywordIndex(), KeywordIndex()
    many.add(ids, texts)
    assert len(texts) > FEW
    for id, text in zip(ids, texts, strict=True):
        single.add([id], [text])
    for query in ("amber 3", "kelp5 under", "under 6 kelp1"):
        assert many.search(query, 20) == single.search(query, 20)
