from __future__ import annotations

from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.types import Request, ResponseFormat, Task
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.prompts.patterns.audience import Audience, compare_readers, reading_grade, syllables

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


async def test_two_readers_get_texts_of_two_grades() -> None:
    def rule(request: Request) -> str:
        return f"{request.messages[-1].content} is so. {EASY if 'child' in request.messages[0].content else HARD}"

    found = await compare_readers(Fake(rule), "Explain it.", ["rain", "wind", "snow", "ice"], "an expert", "a child")
    assert found.grades.value > 5
    assert found.grades.low > 0
    assert found.grades.n == 4
    with pytest.raises(InputError, match="0 of 1"):
        await compare_readers(Fake(lambda _: "42"), "Explain it.", ["rain"], "an expert", "a child")


async def test_the_rung_writes_for_the_reader() -> None:
    task = Task("t", "Explain.", ResponseFormat(), ("text",), (), (), (), ("exact",), "h")
    pool = Pool(default="fake:echo")
    assert Audience().obstacle(task, pool) == ""
    assert "reads the same" in Audience().obstacle(replace(task, form=ResponseFormat("number")), pool)
    assert "nobody" in Audience(" ").obstacle(task, pool)
