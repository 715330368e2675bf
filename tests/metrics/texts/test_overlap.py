from __future__ import annotations

import pytest

from rung.core.types import Case
from rung.metrics.texts.overlap import SQUAD_EM, TOKEN_F1, squad_form, token_f1


# Expected values: SQuAD's official evaluate-v1.1.py, worked by hand from its definition.
@pytest.mark.parametrize(
    ("output", "references", "f1", "match"),
    [
        ("The Denver Broncos!", ["Denver Broncos"], 1.0, 1),
        ("Denver", ["Denver Broncos", "The Denver Broncos"], 2 / 3, 0),
        ("in Paris, France", ["Paris"], 0.5, 0),
        ("a b b c", ["b b d"], 4 / 6, 0),
        ("blue", ["red", "Blue."], 1.0, 1),
        ("", ["x"], 0.0, 0),
        ("the", ["a"], 1.0, 1),
        (None, ["x"], 0.0, 0),
        (1066, ["1066"], 1.0, 1),
    ],
)
def test_squad(output: object, references: list[str], f1: float, match: int) -> None:
    case = Case({}, output, references)
    assert TOKEN_F1.grade(case).value == pytest.approx(f1)
    assert SQUAD_EM.grade(case).value == match


def test_normal_form() -> None:
    assert squad_form("An  apple — a day; the U.S.A.") == "apple — day usa"


@pytest.mark.parametrize(
    ("got", "wanted", "value"),
    [
        ("北京大学", "北京大学在北京", 2 * 4 / 11),
        ("กรุงเทพ", "กรุงเทพมหานคร", 2 * 6 / 18),
        ("soft\u00adware", "software", 1.0),
        ("cafe\u0301", "café", 1.0),
    ],
)
def test_every_script_has_tokens(got: str, wanted: str, value: float) -> None:
    assert token_f1(got, wanted) == pytest.approx(value)
