"""Fifty turns in six hundred tokens: every request is within them, and what was said in the first is still there."""

from __future__ import annotations

import pytest

from rung.agents.loop.view import EpisodeTurn, Pending, View
from rung.agents.memory.short import Keeping, Window, shorten
from rung.agents.policies.transcript import messages, opening
from rung.core.errors import InputError
from tests.agents.script import Script


def words(text: str) -> int:
    return len(text.split())


def turn(seq: int, heard: str, result: str) -> EpisodeTurn:
    made = EpisodeTurn(seq, "I look it up.", calls=[Pending(seq, "look", {"n": seq}, f"e-{seq}", result)])
    made.heard = (heard,)
    return made


@pytest.mark.parametrize("keep", ["recent", "relevant", "summary"])
def test_fifty_turns_stay_within_the_window(keep: Keeping) -> None:
    model, view = Script([]), View(request="Help me with my order.")
    for at in range(50):
        heard = "My favourite colour is ultramarine." if at == 0 else f"And what about item {at} of the catalogue?"
        view.turns.append(
            turn(at, heard, f"Item {at} has been in the catalogue since then, it costs {at}.50 and is sold in boxes.")
        )
        view.said = ["Which colour do I like best?"]
        given = messages(view, opening(view, "Answer."), model, 100, Window(600, keep))
        assert model.count(given) <= 600
        assert given[1].content == "Help me with my order."
        assert given[-1].content == "Which colour do I like best?"
    text = "\n".join(message.content for message in given)
    assert ("ultramarine" in text) == (keep != "recent")
    assert "Item 49" in text


def test_what_fits_stays_whole_and_the_last_turn_always() -> None:
    texts = [f"turn {at} about thing{at}" for at in range(6)]
    assert shorten(texts, 100, "summary", "thing0", words) == (list(range(6)), [])
    assert shorten(texts, 0, "recent", "", words)[0] == [5]
    assert shorten(texts, 13, "recent", "thing0", words)[0] == [3, 4, 5]
    assert shorten(texts, 13, "relevant", "thing0", words)[0] == [0, 4, 5]
    kept, lines = shorten(["I live in Cliffe. It rains.", *texts], 24, "summary", "rain", words)
    assert kept[-1] == 6
    assert lines[0] == "I live in Cliffe."


@pytest.mark.parametrize("bad", [{"tokens": -1}, {"tokens": True}, {"keep": "all"}])
def test_a_window_that_is_none_is_told(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Window(**bad)  # type: ignore[arg-type]
