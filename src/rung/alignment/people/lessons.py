"""Served answers with what people said of them, as examples of the task that they were served for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rung.alignment.people.feedback import read_served
from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.text.reply import read_reply
from rung.core.types import Example, Input, Task
from rung.store import StoredServed

HELD = 4
"""One lesson in so many is never learnt from: it says what came of it. By its input, so that it stays held in every
version."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """An example that came from the served answer ``served``, which the program ``answered`` gave: ``corrected`` by
    people, or scored 1. ``held``: it is not learnt from."""

    served: str
    example: Example
    answered: str
    corrected: bool
    held: bool = False


def learn_from(rows: Iterable[StoredServed], task: Task, problems: Problems) -> list[Lesson]:
    """Lessons of served requests for a task. What people neither corrected nor scored 1 teaches nothing; corrections
    that are no answer of the task, inputs with two different answers, and test examples go to ``problems``."""
    asked = {_key(example.input) for example in (*task.test, *task.dev)}
    found: dict[str, list[Lesson]] = {}
    for row in rows:
        if row.correction is None and (row.score is None or row.score < 1):
            continue
        for one in read_served([row]):
            try:
                made = _lesson(row, read_input(one.messages[-1].content, task.fields), row.correction or one.text, task)
            except InputError as error:
                problems.add(error.message, file=row.id, code=error.code or "lesson")
                continue
            if _key(made.example.input) in asked:
                problems.add("is a test or dev example of the task, and not learnt", file=row.id, code="test-example")
                continue
            found.setdefault(_key(made.example.input), []).append(made)
    out = []
    for same in found.values():
        if len({digest(lesson.example.reference) for lesson in same}) > 1:
            ids = ", ".join(lesson.served for lesson in same[:3])
            problems.add(f"{len(same)} people gave different answers to one question", file=ids, code="contradiction")
        else:
            out.append(same[-1])
    return out


def _lesson(row: StoredServed, input: Input, text: str, task: Task) -> Lesson:
    output, complaint = read_reply(task.form, text)
    if complaint:
        raise InputError(f"{text[:60]!r} is no answer of {task.name}: {complaint}", code="no-answer")
    program = str(_payload(row).get("program", ""))
    held = int(_key(input)[:8], 16) % HELD == 0
    return Lesson(row.id, Example(f"served:{row.id}", input, output), program, row.correction is not None, held)


def read_input(text: str, fields: Sequence[str]) -> Input:
    """What ``text_of`` has written as the input that it was: a single field, or ``name: value`` lines. Raises
    InputError."""
    if len(fields) == 1:
        return {fields[0]: text}
    marks = [re.search(rf"(?:\A|\n){re.escape(name)}: ", text) for name in fields]
    places = [(mark.start(), mark.end()) for mark in marks if mark]
    if len(places) < len(fields) or places != sorted(places):
        raise InputError(f"{text[:60]!r} does not hold the fields {', '.join(fields)}", code="no-input")
    ends = [start for start, _ in places[1:]] + [len(text)]
    return {name: text[start:end] for name, (_, start), end in zip(fields, places, ends, strict=True)}


def _payload(row: StoredServed) -> dict[str, Any]:
    found = json.loads(row.payload)
    return found if isinstance(found, dict) else {}


def _key(input: Input) -> str:
    return digest({name: " ".join(text.casefold().split()) for name, text in input.items()})


def split(lessons: Sequence[Lesson]) -> tuple[list[Lesson], list[Lesson]]:
    """Those to learn from, and those held."""
    return [one for one in lessons if not one.held], [one for one in lessons if one.held]
