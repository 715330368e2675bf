from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.text.number import number_alone, read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3.2e-07", "3.2e-07"),
        ("1E6 J", "1E6".lower()),
        ("−12.5", "-12.5"),
        (".75 of a litre", ".75"),
        ("₹ 12,34,567", "1234567"),
        ("9\u202f876 people", "9876"),
        ("1.6 × 10⁻¹⁹ C", "1.6e-19"),
        ("4.1 \\times 10^{5}", "4.1e5"),
        ("about 3.5 million", "3.5e6"),
        ("７８", "78"),
        ("٣٫٥", "3.5"),
        ("\\frac{3}{8}", "0.375"),
        ("¾", "0.75"),
        ("6/3", "2"),
        ("12%", "12"),
        ("*9*", "9"),
        ("Work: 4 * 6 = 24, then 24 - 2 = 22.", "22"),
        ("**Answer:** 31 km for 2 trips", "31"),
        ("the answer is $1,250.", "1250"),
        ("\\boxed{-4}", "-4"),
        ("first #### 3\nthen #### 8", "8"),
        ("minus 7", "-7"),
        ("x = - 7", "-7"),
        ("− 7 °C", "-7"),
        ("\\boxed{12{,}500}", "12500"),
        ("7 hundred thousand", "7e5"),
        ("3x10^8 m/s", "3e8"),
        ("so => 7", "7"),
    ],
)
def test_a_number_is_read(text: str, number: str) -> None:
    assert read_number(text) == (number, "")


@pytest.mark.parametrize(
    "text",
    [
        "", "eleven", "7-9", "7 to 9", "7 or 9", "7, 9", "7 kg and 9 bags", "3 of 4", "not 7", "at least 7", "more than 7", "2,5",
        "1.234.567", "1.234,5", "12 345", "08:15", "2031-02-03", "10.0.0.7", "0xFF", "4k", "5 ± 1", "3²", "2^8", "2 + 2", "5th",
        "7 (±2)", "- 7", "7+", "7 or more", "over 7", "nearly 7", "7, perhaps 8", "6 ft 2 in", "2h 15m", "3 million 200 thousand", "2 dozen", "7 Mio",
        "√49", "sqrt(49)", "1e5.5", "0.3\u0305", "minus -7", "1e9999", "Answer: 4\nAnswer: 5", "the answer isn't 4", "5/0", "nan", "∞",
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    number, why = read_number(text)
    assert number == ""
    assert why


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234", "1234"), ("−3", "-3"), ("$5", "5"), ("40 %", "40"), ("2e3", "2e3"), ("1,5", ""), ("5 kg", ""), ("", "")],
)
def test_a_number_alone(text: str, number: str) -> None:
    assert number_alone(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_python_s_own_spelling_is_read(value: float) -> None:
    assert float(read_number(repr(value))[0]) == value


@given(st.text(alphabet="0123456789.,-+eE/ ×^%$x()#", max_size=24))
def test_what_is_read_is_a_number(text: str) -> None:
    number, why = read_number(text)
    assert bool(number) != bool(why)
    float(number or 0)
