from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nltk.stem import PorterStemmer  # type: ignore[import-untyped]
from rouge_score import rouge_scorer

from rung.core.types import Case
from rung.foundations.text.stem import stem
from rung.foundations.text.words import is_latin
from rung.metrics.texts.rouge import Rouge, RougeMetric, rouge, tokenize
from tests.metrics.material import pairs, texts

KINDS = {"rouge1": "1", "rouge2": "2", "rouge3": "3", "rougeL": "l", "rougeLsum": "lsum"}
SCORERS = {on: rouge_scorer.RougeScorer(list(KINDS), use_stemmer=on) for on in (False, True)}


def same(prediction: str, reference: str, stemming: bool) -> None:
    theirs = SCORERS[stemming].score(reference, prediction)
    ours = rouge(prediction, reference, tuple(KINDS.values()), stem=stemming)
    for name, kind in KINDS.items():
        mine = ours[kind]
        assert (mine.precision, mine.recall, mine.f1) == tuple(theirs[name]), (name, prediction, reference)


@pytest.mark.parametrize("stemming", [False, True])
def test_identical_on_real_text(stemming: bool) -> None:
    for prediction, reference in pairs(40):
        same(prediction[:1200], reference[:1200], stemming)


@given(
    st.lists(st.sampled_from(["a", "b", "c", "running", "runs", "42", "\n", "É", "x-y", "İ", "_"]), max_size=25),
    st.lists(st.sampled_from(["a", "b", "c", "running", "run", "42", "\n", "é", "x y", "ss", "\n\n"]), max_size=25),
    st.booleans(),
)
def test_identical_on_awkward_text(left: list[str], right: list[str], stemming: bool) -> None:
    same(" ".join(left), " ".join(right), stemming)


@given(st.text(max_size=80), st.text(max_size=80))
def test_identical_on_any_text(left: str, right: str) -> None:
    assume(is_latin(right) and (right.isascii() or tokenize(right)))
    same(left, right, True)


def test_stems_are_those_of_nltk() -> None:
    """Over every word of the texts, and made-up words that end in each suffix the rules know."""
    words = {word for text in texts() for word in tokenize(text)}
    rng = random.Random(0)
    endings = [
        "ational",
        "tional",
        "enci",
        "anci",
        "izer",
        "bli",
        "abli",
        "alli",
        "entli",
        "eli",
        "ousli",
        "ization",
        "ation",
        "ator",
        "alism",
        "iveness",
        "fulness",
        "ousness",
        "aliti",
        "iviti",
        "biliti",
        "fulli",
        "logi",
        "icate",
        "ative",
        "alize",
        "iciti",
        "ical",
        "ful",
        "ness",
        "al",
        "ance",
        "ence",
        "er",
        "ic",
        "able",
        "ible",
        "ant",
        "ement",
        "ment",
        "ent",
        "ion",
        "sion",
        "ou",
        "ism",
        "ate",
        "iti",
        "ous",
        "ive",
        "ize",
        "ed",
        "ing",
        "eed",
        "ied",
        "ies",
        "sses",
        "s",
        "y",
        "ll",
        "e",
        "at",
        "bl",
        "iz",
    ]
    for _ in range(8000):
        head = "".join(rng.choice("aeiouybcdlstwx27") for _ in range(rng.randint(0, 6)))
        words.add(head + rng.choice(endings) + rng.choice(["", "", "s", "ed", "ing", "ly"]))
    words |= {"sky", "skies", "dying", "news", "innings", "proceed", "enjoy", "happy", "y", "yyyy"}
    peer = PorterStemmer()
    assert {word: stem(word) for word in words} == {word: peer.stem(word) for word in words}


def test_metric_takes_the_best_reference() -> None:
    score = RougeMetric("l").grade(Case({}, "the cat sat", ["a dog", "the cat sat down"]))
    assert score.value == pytest.approx(6 / 7)
    assert "precision 1.00" in score.why


@pytest.mark.parametrize(
    "text",
    ["Посылка ещё не пришла", "包裹还没有到", "พัสดุยังไม่มา", "لم تصل الشحنة", "पार्सल नहीं आया", "🙂👍🎉🙂", "١٢ ٣٤"],
)
def test_scripts_other_than_latin_are_read(text: str) -> None:
    for kind, result in rouge(text, text, ("1", "2", "l", "lsum")).items():
        assert result == Rouge(1.0, 1.0, 1.0), kind
    assert rouge("nothing alike", text, ("l",))["l"].f1 == 0.0
    assert 0 < rouge(text[: len(text) // 2], text, ("1",))["1"].f1 < 1


def test_where_the_reference_is_latin_numbers_are_those_of_rouge_score() -> None:
    assert rouge("naïve", "na ve", ("1",))["1"].f1 == 1.0
