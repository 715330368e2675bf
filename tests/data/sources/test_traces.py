"""Answers of a run as rows: a correction wins, a wrong answer is not learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Answer, Example, Failure, Result, Score
from rung.data.sources.traces import Answers, corrections, harvest


def _result(id: str, output: str, value: float, failure: Failure | None = None) -> Result:
    return Result(
        Example(id, {"text": f"question {id}"}, "x"), Answer(output, failure=failure), {"accuracy": Score(value)}
    )


def test_what_is_learnt(tmp_path: Path) -> None:
    path = tmp_path / "right.csv"
    path.write_text("id,answer\nb,B!\nz,Z!\n")
    results = [
        _result("a", "A", 1),
        _result("b", "wrong", 0),
        _result("c", "C", 0.5),
        _result("d", "", 0, Failure("parse", "x")),
    ]
    given = Answers("run1", "zero-shot", "accuracy", results)
    problems = Problems()
    rows = list(harvest(given, corrections(path), problems))
    assert [(row.question, row.answer, row.source["corrected"]) for row in rows] == [
        ("question a", "A", False),
        ("question b", "B!", True),
    ]
    assert rows[0].source == {"run": "run1", "rung": "zero-shot", "example": "a", "corrected": False}
    assert len(problems.found) == 3
    assert [problem.code for problem in problems.found] == ["wrong", "failed", "not-answered"]
    assert len(list(harvest(given, {}, Problems(), every=True))) == 3


def test_corrections_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "right.csv"
    for text, message in (
        ("a,b\n1,2\n", "expected the columns|has the columns"),
        ("id,answer\n1,2\n1,3\n", "two different answers"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            corrections(path)
    with pytest.raises(InputError):
        corrections(tmp_path / "none.csv")
