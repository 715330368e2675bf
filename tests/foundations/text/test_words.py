from __future__ import annotations

import pytest

from rung.foundations.text.words import is_latin, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, snake_case 3.5", ["don't", "stop", "snake", "case", "3", "5"]),
        ("Где моя посылка?", ["где", "моя", "посылка"]),
        ("你好world", ["你", "好", "world"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("السَّلام عليكم", ["السَّلام", "عليكم"]),
        ("e\u0301te\u0301", ["été"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("カタカナ", ["カ", "タ", "カ", "ナ"]),
        ("", []),
        ("…!? 🙂", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_which_texts_are_latin() -> None:
    assert is_latin("naïve résumé")
    assert is_latin("12:30")
    assert not is_latin("привет abc")
    assert not is_latin("你好")
