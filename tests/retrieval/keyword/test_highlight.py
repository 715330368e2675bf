"""Highlights are what the keyword index matches, found faster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.retrieval.keyword.analysis import Analysis
from rung.retrieval.keyword.highlight import highlight

ANALYSIS = Analysis()
WORDS = [
    "happy",
    "Happiness",
    "hopping",
    "hoped",
    "hope",
    "sky",
    "skies",
    "dies",
    "relational",
    "the",
    "café",
    "x1",
    "Ünder",
    "“Ah!”",
    "世界",
    "naïve",
    "K",
    "a_b",
]


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("happy skies", "Happiness in the sky; happy skies", ["Happiness", "sky", "happy", "skies"]),
        ("cafe", "“Café” and cafés, café!", ["Café", "cafés", "café"]),
        ("世界", "hello 世界人", ["世", "界"]),
        ("the of", "the end of it", []),
        ("kelp", "a kelp” kelpx kelp_kelp", ["kelp", "kelp", "kelp"]),
    ],
)
def test_marked(query: str, text: str, marked: list[str]) -> None:
    (spans,) = highlight(query, [text])
    assert [text[span.start : span.end] for span in spans] == marked


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), max_size=12),
    st.sampled_from([" ", "-", "", "’", "\n", "_"]),
)
def test_as_the_keyword_index_has_it(query: list[str], words: list[str], between: str) -> None:
    text = between.join(words)
    asked = " ".join(query)
    wanted = set(ANALYSIS.terms(asked))
    assert highlight(asked, [text])[0] == tuple(span for term, span in ANALYSIS.places(text) if term in wanted)
