"""Against the formula written out over dictionaries, and the laws of probabilities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.foundations.language.markov import MarkovModel

TEXT = b"the cat sat on the mat, the rat ate the cat's hat; that is that."


def plainly(text: bytes, history: bytes, symbol: int) -> float:
    """Witten and Bell's formula by recursion."""
    followed = Counter(
        text[at + len(history)] for at in range(len(text) - len(history)) if text[at : at + len(history)] == history
    )
    lower = plainly(text, history[1:], symbol) if history else 1 / 256
    total, kinds = followed.total(), len(followed)
    return (followed[symbol] + kinds * lower) / (total + kinds) if total else lower


@pytest.mark.parametrize("order", [0, 1, 3, 6])
def test_it_is_the_formula(order: int) -> None:
    model = MarkovModel.fit(np.frombuffer(TEXT, np.uint8), order)
    for history in (b"on the ", b"at that", b"zzzzz th", b"qqqqqqqq", b"\x00\xff\x00\xff\x00\xff\x00"):
        ours = model.next(np.frombuffer(history, np.uint8))
        cut = history[len(history) - order :] if order else b""
        # The recursion counts contexts that a table of that order has: none at the very end of the text.
        assert ours.sum() == pytest.approx(1, abs=1e-12)
        assert ours.min() > 0
        for symbol in (*b"the q", 0, 255):
            assert ours[symbol] == pytest.approx(plainly(TEXT, cut, symbol), rel=1e-12)


def test_bits_are_those_of_the_probabilities() -> None:
    data = np.frombuffer(TEXT, np.uint8)
    model = MarkovModel.fit(data, 2)
    held = np.frombuffer(b"the bat\xe2\x82\xac", np.uint8)
    wanted = [-np.log2(plainly(TEXT, bytes(held[at - 2 : at]), int(held[at]))) for at in range(2, len(held))]
    assert model.bits(held) == pytest.approx(wanted)
    assert MarkovModel.fit(data, 3).parameters > model.parameters


@pytest.mark.parametrize(
    ("text", "order", "code"), [(b"ab", 2, "short-text"), (b"abc", 7, "order"), (b"", 0, "short-text")]
)
def test_what_cannot_be_counted(text: bytes, order: int, code: str) -> None:
    with pytest.raises(InputError) as caught:
        MarkovModel.fit(np.frombuffer(text, np.uint8), order)
    assert caught.value.code == code
