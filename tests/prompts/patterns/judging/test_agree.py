from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.types import Request
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.judging.agree import Pair, Work, agreement, grade_agreement, read_judged

GENERATED = replace(CAPABILITIES, score=False)
PAIRS = [
    Pair(f"question {i}", "right" + " and long" * (i % 2), "wrong" + " but longer" * 3, 1) if i % 3
    else Pair(f"question {i}", "wrong answer", "right", 2)
    for i in range(12)
]  # fmt: skip


def judge(rule: Callable[[str], str]) -> Fake:
    return Fake(lambda request: rule(_text(request)), capabilities=GENERATED)


def _text(request: Request) -> str:
    return request.messages[-1].content


def knowing(text: str) -> str:
    if "Answer A" in text:
        return "A" if "right" in text.split("Answer B")[0] else "B"
    return "5" if "right" in text.split("Answer to grade:")[1] else "1"


async def test_a_judge_that_knows_agrees() -> None:
    found = await agreement(judge(knowing), "helpfulness", PAIRS)
    assert (found.n, found.failed) == (12, 0)
    assert [way.way for way in found.ways] == ["once", "swapped", "graded"]
    assert all((way.agree.value, way.kappa.value, way.n) == (1, 1, 12) for way in found.ways)
    assert found.bias.stable.value == 1
    assert found.longer is not None
    assert found.longer_right is not None
    assert found.longer.value == found.longer_right.value == 0
    assert found.padding is not None
    assert found.padding.value == 0


async def test_a_judge_that_takes_the_first_agrees_by_chance_only() -> None:
    found = await agreement(judge(lambda text: "A" if "Answer A" in text else "3"), "helpfulness", PAIRS)
    once = found.ways[0]
    assert once.agree.value == pytest.approx(8 / 12)  # the share of labels 1, and no more
    assert once.kappa.value == 0
    assert found.bias.first.value == 1
    assert found.bias.stable.value == 0
    assert [way.way for way in found.ways] == ["once", "swapped"]  # equal grades are no verdict


async def test_a_judge_that_likes_length_is_seen() -> None:
    def rule(text: str) -> str:
        if "Answer A" not in text:
            return "5" if "careful answer" in text else "2"
        first, second = text.split("Answer A:")[1].split("Answer B:")
        return "A" if len(first) > len(second.split("Which answer")[0]) else "B"

    found = await agreement(judge(rule), "helpfulness", PAIRS, padding=6)
    assert found.longer is not None
    assert found.longer.value == 1
    assert found.padding is not None
    assert found.padding.value == pytest.approx(0.75)
    assert found.padding.n == 6


async def test_answers_of_one_length_say_nothing_about_length() -> None:
    found = await agreement(judge(knowing), "helpfulness", [Pair("q", "right", "wrong", 1)] * 2, padding=0)
    assert (found.longer, found.longer_right, found.padding) == (None, None, None)


async def test_a_judge_that_always_fails_is_an_error() -> None:
    with pytest.raises(InputError, match="failed on every pair"):
        await agreement(judge(lambda _: "both are great"), "helpfulness", PAIRS)
    with pytest.raises(InputError, match="two or more"):
        await agreement(judge(knowing), "helpfulness", PAIRS[:1])


async def test_grades_beside_peoples() -> None:
    works = [Work("q", "right" if i % 2 else "wrong", 5.0 if i % 2 else 1.0) for i in range(6)]
    found = await grade_agreement(judge(knowing), "helpfulness", works)
    assert (found.kappa.value, found.equal.value, found.n, found.failed) == (1, 1, 6, 0)
    off = await grade_agreement(judge(knowing), "helpfulness", [replace(work, grade=3.0) for work in works])
    assert (off.kappa.value, off.equal.value) == (0, 0)


def test_files_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "judged.json"
    row = {"input": "q", "output_1": "a", "output_2": "b", "label": 2}
    path.write_text(json.dumps([row, {**row, "label": 1}]))
    assert read_judged(path) == [Pair("q", "a", "b", 2), Pair("q", "a", "b", 1)]
    path.write_text('{"input": "q", "output": "a", "grade": 4}\n{"input": "q", "output": "b", "grade": 2.5}\n')
    assert read_judged(path) == [Work("q", "a", 4.0), Work("q", "b", 2.5)]
    for text, why in [
        (json.dumps([{**row, "label": 3}]), ":1: label 3"),
        (json.dumps([{**row, "input": " "}]), ":1: input"),
        (json.dumps([{"input": "q", "label": 1}]), "has no 'output_1'"),
        (json.dumps([{"input": "q", "output": "a", "grade": 9}]), "expected 1 to 5"),
        (json.dumps([row, {"input": "q", "output": "a", "grade": 2}]), "one kind"),
        ("[]", "at least one"),
        ("[", "not valid JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=why):
            read_judged(path)
    with pytest.raises(InputError, match="there is no"):
        read_judged(tmp_path / "none.json")
