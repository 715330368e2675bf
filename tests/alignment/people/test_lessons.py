"""Served answers as examples of a task: corrections win, contradictions and test examples are left out, inputs are read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rung.alignment.people.lessons import learn_from, read_input, split
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Example, text_of
from rung.store import StoredServed
from tests import desk


def served(id: str, asked: str, answer: str, **said: Any) -> StoredServed:
    payload = {"program": "p1", "messages": [{"role": "user", "content": asked}], "answers": [{"text": answer}]}
    return StoredServed(id, "rung/a", json.dumps(payload), 0.0, **said)


def test_what_people_said_of_answers_becomes_examples() -> None:
    task = desk.task()
    labels = task.form.labels
    rows = [
        served("right", "one thing", labels[0], score=1.0),
        served("fixed", "another thing", labels[0], correction=labels[1]),
        served("poor", "a third thing", labels[0], score=0.2),
        served("unseen", "a fourth thing", labels[0]),
        served("odd", "a fifth thing", labels[0], correction="no such label"),
        served("test", text_of(task.test[0].input), labels[0], score=1.0),
        served("yes", "Which  one?", labels[0], score=1.0),
        served("no", "which one?", labels[0], correction=labels[1]),
    ]
    problems = Problems()
    found = learn_from(rows, task, problems)
    assert [(one.served, one.example.reference, one.corrected) for one in found] == [
        ("right", labels[0], False),
        ("fixed", labels[1], True),
    ]
    assert {one.answered for one in found} == {"p1"}
    assert [problem.code for problem in problems.close()] == ["no-answer", "test-example", "contradiction"]


def test_what_is_held_out_stays_held_out() -> None:
    rows = [served(f"a{at}", f"question {at}", desk.task().form.labels[0], score=1.0) for at in range(60)]
    learnt, held = split(learn_from(rows, desk.task(), Problems()))
    assert 5 <= len(held) <= 25
    again = split(learn_from(rows[:30], desk.task(), Problems()))
    assert {one.served for one in again[0]} <= {one.served for one in learnt}


@pytest.mark.parametrize(
    "input", [{"text": "a: b\nc"}, {"title": "x", "body": "several\nlines: of it"}, {"a": "", "b": ""}]
)
def test_an_input_is_read_back_from_its_text(input: dict[str, str]) -> None:
    assert read_input(text_of(Example("e", input, None).input), list(input)) == input


def test_an_input_without_its_fields_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        read_input("title: x", ["title", "body"])
    assert caught.value.code == "no-input"
