"""What rows are like: counted right, drawn as pictures that stand alone."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from rung.core.types import Message
from rung.data.rows.length import TokenCounter
from rung.data.rows.records import Record
from rung.data.split import draw
from rung.data.split.kinds import kind
from rung.data.split.profile import cluster, distinct, evenness, lines, page, profile


def _row(question: str, answer: str) -> Record:
    return Record("r", (Message("user", question), Message("assistant", answer)))


def test_counts() -> None:
    rows = [_row(f"Is {n} blue?", "yes" if n % 4 else "no") for n in range(40)]
    found = profile(rows, TokenCounter("x", lambda record: len(record.whole)))
    assert found.labels == {"yes": 30, "no": 10}
    assert found.balance["labels"] == pytest.approx(0.811, abs=0.001)
    assert found.kinds == {"question": 40}
    assert len(found.tokens) == 40
    assert found.document()["tokens"]["max"] == max(found.tokens)
    assert "Labels (2" in "\n".join(lines(found))
    assert evenness([5, 5]) == 1
    assert evenness([5]) is None
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a"], 2) == 0


def test_a_page_that_stands_alone() -> None:
    rows = [
        _row(f"Explain the {word} <b>{n}</b>", f"The {word} is {n} & more")
        for n in range(30)
        for word in ("lamp light bulb", "train rail track")
    ]
    text = page(profile(rows, TokenCounter("x", lambda record: len(record.whole))), "rows <x>", "some model")
    assert "<b>0" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    pictures = text.split("<svg")[1:]
    assert len(pictures) >= 4
    for picture in pictures:
        ET.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")


def test_clusters() -> None:
    texts = [f"soup bread cheese {n}" for n in range(40)] + [f"train ticket rail {n}" for n in range(20)]
    groups, _ = cluster(texts)
    assert sum(group.size for group in groups) == 60
    assert all({"soup", "train"} - set(group.words) for group in groups)
    assert cluster(["a", "b"])[0] == []
    assert cluster(["the"] * 5 + ["?!", "!", ".", ",", ";", ":", "-", "a", "i", "u"])[0] == []


def test_one_row_and_texts_alone() -> None:
    assert profile([_row("", "")]).rows == 1
    found = profile([Record("a", text="some words here")])
    assert found.distinct[0] == 1
    assert page(found, "x")


@pytest.mark.parametrize("items", [[], [("", 0.0)], [("a\x00<&>", 3.0), ("b", 1.5)]])
def test_pictures(items: list[tuple[str, float]]) -> None:
    ET.fromstring(draw.bars("t & u", items))
    ET.fromstring(draw.histogram("t", [value for _, value in items], "words"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Translate this into French: hello", "translate"),
        ("Classify the sentiment of this review.", "classify"),
        ("Write a poem about rain", "write"),
        ("Write a Python function that adds", "code"),
        ("Summarize the text below", "summarize"),
        ("Who wrote Faust?", "question"),
        ("Rephrase the sentence", "rewrite"),
        ("Lamp.", "other"),
    ],
)
def test_kinds(text: str, name: str) -> None:
    assert kind(text) == name


def test_the_words_of_a_frame_say_nothing() -> None:
    frame = "Below is an instruction that describes a task. Write a response that completes it.\n\n### Instruction:\n{}\n\n### Response:\n"
    assert kind(frame.format("what is kangen water?")) == "question"
    assert kind(frame.format("Summarize the text.\n\n### Input:\nWrite a poem")) == "summarize"
