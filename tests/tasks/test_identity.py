"""What makes two texts the same, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.tasks.identity import identity, words
from rung.tasks.near import clusters


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it on?", "is it on"),
        ("“Yes,” she said (twice).", "yes she said twice"),
        ("Wait... what?!", "wait what"),
        ("a well-known fact", "a well known fact"),
        ("ＡＢＣ１２３", "abc123"),
        ("\ufb01ne", "fine"),
        ("cafe\u0301", "caf\u00e9"),
        ("don\u2019t", "don't"),
        ("if p:\n  q()\n\n  r()", "    if p:\n\tq()\n\tr()"),
        ("今日は、いい天気です。", "今日は いい天気です"),
        ("می\u200cخواهم", "میخواهم"),
        ("שלום\u200f!", "שלום"),
        ("\ufee3\ufeae\ufea3\ufe92\ufe8e", "مرحبا"),
    ],
)
def test_writing_alone_makes_no_difference(one: str, other: str) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("if n <= 3", "if n >= 3"),
        ("4+4", "4-4"),
        ("the language F", "the language F#"),
        ("G++ or", "G or"),
        ("i++;", "i--;"),
        ("p && q", "p || q"),
        ("!ready", "ready"),
        ("at -12 degrees", "at 12 degrees"),
        ("2.5 l", "25 l"),
        ("3/4", "34"),
        ("10^5", "105"),
        ("at 7:15", "at 715"),
        ("6! is", "6 is"),
        ("$5", "5%"),
        ("f()", "f"),
        ("int[]", "int"),
        ("well :-)", "well :-("),
        ("nice 👍", "nice 👎"),
        ("x²", "x2"),
        ("if p:\n  q()\n  r()", "if p:\n  q()\nr()"),
        ("½ cup", "1 2 cup"),
        ("x in ℝ", "x in R"),
        ("कि", "की"),
        ("มา", "ม่า"),
        ("שָׁלוֹם", "שֶׁלוֹם"),
        ("u\u2212v", "u+v"),
        ("Maße", "Masse"),
    ],
)
def test_signs_that_mean_something_do(one: str, other: str) -> None:
    assert identity(one) != identity(other)
    assert identity(f"We wrote {one} there") != identity(f"We wrote {other} there")
    assert clusters([[one], [other]], None)[0].tolist() == [0, 1]


@given(st.text(max_size=40))
def test_it_is_the_same_of_itself(text: str) -> None:
    said = identity(text)
    assert identity(said) == identity(identity(said))
    assert identity(f"  {text} ") == said
    assert not said.startswith(" ")


def test_words_where_there_are_no_spaces() -> None:
    assert words("Hello, C++ (2) world!") == ["hello", "c++", "(2)", "world"]
    assert words("天气好 today.") == ["天", "气", "好", "today"]
    assert words("สวัสดี") == ["สวั", "วัส", "ัสด", "สดี"]
    assert words("ok") == ["ok"]
    assert words("?!") == []


@pytest.mark.parametrize(
    "text",
    [
        "我们昨天在图书馆门口等了很久才看见他从车站慢慢走过来手里拿着两本旧书和一张地图",
        "昨日は図書館の前で長い間待っていたが彼は駅からゆっくり歩いて来て古い本を二冊持っていた",
        "เมื่อวานนี้เรายืนรออยู่หน้าห้องสมุดเป็นเวลานานกว่าเขาจะเดินมาจากสถานีพร้อมหนังสือเก่าสองเล่ม",
    ],
)
def test_near_duplicates_in_scripts_without_spaces(text: str) -> None:
    other = f"{text[:20]}了{text[21:]}"
    assert clusters([[text], [other]], 0.7)[1].tolist() == [0, 0]
    assert clusters([[text], [text[20:] + text[:20][::-1]]], 0.8)[1].tolist() == [0, 1]


@pytest.mark.parametrize(("one", "other"), [("it is 5'", 'it is 5"'), ("[1]", "1"), ("a loss of (40)", "a loss of 40")])
def test_marks_of_numbers_are_no_punctuation(one: str, other: str) -> None:
    assert identity(one) != identity(other)
