from __future__ import annotations

from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.types import ResponseFormat, Task
from rung.models import Pool
from rung.prompts.patterns.asking.audience import Audience, reading_grade, syllables

EASY = "The cat sat on the mat. It was fat. The dog ran to it."
HARD = "Epistemological considerations necessitate methodological sophistication notwithstanding institutional constraints."


@pytest.mark.parametrize(
    ("word", "count"),
    [("cat", 1), ("table", 2), ("stone", 1), ("jumped", 1), ("wanted", 2), ("education", 4), ("the", 1)],
)
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


def test_grades_follow_the_formula() -> None:
    assert reading_grade(EASY) == pytest.approx(0.39 * 14 / 3 + 11.8 - 15.59)
    assert reading_grade(HARD) > 20 > 3 > reading_grade(EASY)
    with pytest.raises(InputError, match="no words"):
        reading_grade("42!")


async def test_the_rung_writes_for_the_reader() -> None:
    task = Task("t", "Explain.", ResponseFormat(), ("text",), (), (), (), ("exact",), "h")
    pool = Pool(default="fake:echo")
    assert Audience().obstacle(task, pool) == ""
    assert "reads the same" in Audience().obstacle(replace(task, form=ResponseFormat("number")), pool)
    assert "nobody" in Audience(" ").obstacle(task, pool)
