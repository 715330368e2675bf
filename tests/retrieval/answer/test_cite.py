"""Citations: what supports a claim, where it stands, and that a mark is never believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.types import Document, Hit, Passage
from rung.retrieval.answer.cite import align, cite, locate
from rung.retrieval.answer.span import candidates, copy
from rung.retrieval.chunk import chunker

DOCUMENTS = [
    Document("lamp.md", "# Lamps\n\nLamps were dangerous in mines. The safety lamp was invented in 1815 by Humphry Davy. It saved lives."),
    Document("otter.md", "The sea otter eats sea urchins on the coast of the Pacific. It does not eat seals. It weighs 30 kg."),
    Document("rope.md", "A rope is twisted from strands of hemp; the Bank of Hemp paid $4,500 for 12 of them in May 1912."),
]  # fmt: skip
TEXTS = {document.id: document.text for document in DOCUMENTS}


def hits() -> list[Hit]:
    passages = [passage for document in DOCUMENTS for passage in chunker("sentences:60").split(document)]
    return [Hit(passage, 1.0) for passage in passages]


def test_a_claim_is_cited_to_the_characters_that_say_it() -> None:
    found = cite("The safety lamp was invented by Humphry Davy in 1815.", hits())
    (citation,) = found.citations
    assert citation.document == "lamp.md"
    assert citation.holds(TEXTS["lamp.md"])
    assert citation.quote == "The safety lamp was invented in 1815 by Humphry Davy."
    assert found.text.endswith("in 1815 [1].")
    assert found.claims[0].marks == (1,)


def test_a_wrong_mark_is_put_right_and_said() -> None:
    found = cite("The sea otter eats sea urchins [1]. Ropes are twisted from strands of hemp [3].", hits())
    assert [citation.document for citation in found.citations] == ["otter.md", "rope.md"]
    assert "named [1]" in found.claims[0].note
    assert found.claims[1].note == ""
    assert found.text == "The sea otter eats sea urchins [1]. Ropes are twisted from strands of hemp [2]."


@pytest.mark.parametrize(
    "made_up",
    [
        "The safety lamp was invented in 1816 by Humphry Davy [1].",
        "The safety lamp was invented in 1815 by Michael Faraday [1].",
        "The sea otter eats many grey seals and whales [2].",
        "The railway was opened with one engine [1].",
        "The safety lamp was invented [9].",
    ],
)
def test_what_no_passage_says_is_not_cited_or_not_as_marked(made_up: str) -> None:
    found = cite(made_up, hits())
    if "[9]" in made_up:  # the words are there, the passage of that number is not
        assert found.citations[0].document == "lamp.md"
        assert "named [9]" in found.claims[0].note
    else:
        assert found.citations == ()
        assert found.claims[0].marks == ()
        assert "no passage says it" in found.claims[0].note
        assert found.kept().text == ""


def test_two_claims_from_one_sentence_share_a_citation() -> None:
    found = cite("Humphry Davy invented the safety lamp. The safety lamp was invented in 1815.", hits())
    assert len(found.citations) == 1
    assert [claim.marks for claim in found.claims] == [(1,), (1,)]


def test_an_exact_phrase_is_its_own_span() -> None:
    text = TEXTS["lamp.md"]
    span, score = align("the   Safety lamp", text)
    assert (text[span.start : span.end], score) == ("The safety lamp was invented in 1815 by Humphry Davy.", 1.0)
    assert locate("lamp was Davy", text) is None
    assert locate("...", text) is None


@given(
    answer=st.lists(
        st.sampled_from(["The sea otter eats sea urchins", "[1]", "[2]", ".", " ", "1815", "Davy", "[", "\n", "not"]),
        max_size=25,
    ).map("".join)
)
def test_every_citation_resolves_whatever_was_answered(answer: str) -> None:
    found = cite(answer, hits())
    marks = [citation.mark for citation in found.citations]
    assert marks == list(range(1, len(marks) + 1))
    for citation in found.citations:
        assert citation.holds(TEXTS[citation.document])
    assert {mark for claim in found.claims for mark in claim.marks} == set(marks)
    assert all(0 <= claim.support <= 1 for claim in found.claims)


@pytest.mark.parametrize(
    ("question", "reply", "expected"),
    [
        ("Who invented the safety lamp?", "The safety lamp was invented by Humphry Davy.", "Humphry Davy"),
        ("When was the safety lamp invented?", "It was invented in 1815 in a mine.", "1815"),
        ("How much does the otter weigh?", "The sea otter weighs 30 kg as an adult.", "30 kg"),
        ("How much was paid?", "They paid $4,500 in all.", "$4,500"),
        ("Who paid?", "It was paid by the Bank of Hemp.", "Bank of Hemp"),
    ],
)
def test_the_phrase_that_the_reply_says_is_copied(question: str, reply: str, expected: str) -> None:
    found = copy(question, reply, hits())
    assert found is not None
    passage = hits()[found.hit].passage
    assert passage.text[found.span.start : found.span.end] == found.text == expected


def test_candidates_stand_in_the_passages() -> None:
    for item in candidates("Who invented the lamp and what is hemp?", hits()):
        text = hits()[item.hit].passage.text
        assert text[item.span.start : item.span.end] == item.text
    empty = [Hit(Passage("a#0-3", "a", 0, 3, "..."), 1.0)]
    assert copy("Who?", "Nobody.", empty) is None
