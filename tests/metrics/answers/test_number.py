from __future__ import annotations

import pytest

from rung.core.types import Case
from rung.metrics.answers.number import NUMBER, final_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", 72),
        ("#### 1,234", 1234),
        ("It costs $1,234.50.", 1234.5),
        ("the answer is -3", -3),
        ("from 3-5 days, so 5 days", 5),
        ("10%", 10),
        (".5", 0.5),
        ("2e3", 2000),
        ("about 3.", 3),
        ("#### none, but 7 above", 7),
        ("step2 then", None),
        ("none", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        (4, 4),
        ("−8", -8),
    ],
)
def test_final_number(text: object, number: float | None) -> None:
    assert final_number(text) == number


def test_number() -> None:
    assert NUMBER.grade(Case({}, "so 1/3 is 0.3333333", 0.3333333)).value == 1
    wrong = NUMBER.grade(Case({}, "18", "#### 20"))
    assert (wrong.value, wrong.why) == (0.0, "expected 20, got 18")
    assert "found no number" in NUMBER.grade(Case({}, "no idea", "#### 20")).why
