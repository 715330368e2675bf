"""Rows that do not agree: contradictions, exchanged labels, answers written otherwise."""

from __future__ import annotations

import random

from rung.data.clean.filters.noise import contradictions, labels, outliers, suspects

TOPICS = {
    "food": "soup bread cheese apple dinner cook",
    "travel": "train ticket plane hotel beach map",
    "money": "bank card loan rate account fee",
}


def _rows(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    names = [rng.choice(list(TOPICS)) for _ in range(count)]
    return [" ".join(rng.choices(TOPICS[name].split(), k=5)) for name in names], names


def test_planted_noise_is_found() -> None:
    texts, names = _rows(400)
    rng = random.Random(1)
    planted = set(rng.sample(range(400), 20))
    given = [rng.choice([n for n in TOPICS if n != name]) if at in planted else name for at, name in enumerate(names)]
    found = {doubt.place for doubt in suspects(texts, given)}
    assert len(found & planted) >= 19
    assert len(found - planted) <= 4
    assert suspects(texts[:10], given[:10]) == []
    assert suspects(texts, ["food"] * 400) == []
    assert suspects(["?!"] * 30, ["a", "b"] * 15) == []


def test_contradictions() -> None:
    questions = [
        "Where is it?",
        "where is it",
        "Who are you?",
        "",
        "",
        "Is the large red lamp in the hall on the first floor still broken today?",
    ]
    questions.append("Is the large red lamp in the hall on the first floor still broken today")
    found = contradictions(questions, ["a", "b", "c", "d", "e", "yes", "no"])
    assert [doubt.place for doubt in found] == [0, 1, 5, 6]
    assert "'b'" in found[0].why
    assert contradictions(["a b", "A b!"], ["Yes", "yes."]) == []
    assert contradictions([], []) == []


def test_style() -> None:
    rng = random.Random(0)
    answers = [
        " ".join(rng.choices(["the", "lamp", "is", "on", "sale", "today"], k=rng.randint(6, 12))) + "."
        for _ in range(60)
    ]
    found = outliers([*answers, "THE LAMP IS ON SALE!!!!! BUY NOW!!!!!", "word " * 400])
    assert {doubt.place for doubt in found} == {60, 61}
    assert outliers(answers[:5]) == []
    names = ["spam", "ham"] * 20
    assert [doubt.place for doubt in outliers([*names, "Spam"])] == [40]


def test_what_labels_are() -> None:
    assert labels(["a", "b"] * 10)
    assert not labels([f"answer {n}" for n in range(20)])
    assert not labels(["a", "a"])
    assert not labels(["x" * 100] * 20)
