from __future__ import annotations

import pytest

from rung.foundations.text.sentences import count_sentences
from rung.foundations.text.words import is_latin, origins, visible, words


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
    assert not is_latin("router 密码 on the label")
    assert not is_latin("你好")


@pytest.mark.parametrize("sign", ["\u00ad", "\u200b", "\u200d", "\ufeff", "\u202e", "\u2060", "\ufe0f", "\U000e0041"])
def test_signs_that_are_not_seen_are_no_part_of_a_word(sign: str) -> None:
    assert words(f"soft{sign}ware") == ["software"]
    assert visible(f"{sign}e\u0301{sign}") == "é"
    seen = origins(f"a{sign}b")
    assert seen == ("ab", [0, 2, 3])


def test_a_text_of_seen_signs_is_left_as_it_is() -> None:
    assert origins("naïve") is None
    assert visible("\u0600١") == "\u0600١"  # a number sign that stands before Arabic digits is seen


def test_sentences_of_plain_prose() -> None:
    assert count_sentences('It was 5 p.m. Then we left!! And "Stop." she said? yes') == 4
    assert count_sentences("Mr. " * 50_000) == 1
    assert count_sentences("." * 200_000) == 0
