"""Styles by person: learnt from one's own ratings alone, deleted with them, and better than chance on simulated people."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.alignment.people.personal import STYLE, ask_in, preferences, read_styles, simulate, style_for
from rung.core.errors import InputError
from rung.core.types import Message
from rung.store import Store, StoredSignal, open_store

STYLES = ["brief", "list", "kind"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path / 'rung.db'}")


def like(store: Store, person: str, style: str, times: int) -> None:
    """So many answers in each style, of which the one was liked."""
    for one in STYLES:
        ids = [f"{person}-{one}-{at}" for at in range(times)]
        store.signals.add([StoredSignal(id, STYLE, 1.0, one, person) for id in ids])
        store.signals.add([StoredSignal(id, "rating", float(one == style), "", person) for id in ids])


def test_a_persons_ratings_change_that_persons_answers_alone(store: Store) -> None:
    before = style_for(store, "bob", STYLES)
    like(store, "ann", "list", 30)
    assert style_for(store, "ann", STYLES) == "list"
    assert style_for(store, "bob", STYLES) == before
    assert store.signals.all(person="bob") == []
    store.signals.forget("ann")
    assert [one.answers for one in preferences(store.signals.all(person="ann"), STYLES)] == [0, 0, 0]


def test_a_second_thought_replaces_the_first() -> None:
    rows = [
        StoredSignal("a", STYLE, 1.0, "brief", "ann"),
        StoredSignal("a", "rating", 0.0),
        StoredSignal("a", "rating", 0.75),
        StoredSignal("unknown", "rating", 1.0),
    ]
    brief, *others = preferences(rows, STYLES)
    assert (brief.answers, brief.good, brief.bad) == (1, 1.75, 1.25)
    assert all(one.answers == 0 for one in others)


def test_nobody_has_no_preference(store: Store) -> None:
    with pytest.raises(InputError) as caught:
        style_for(store, " ", STYLES)
    assert caught.value.code == "nobody"


def test_what_is_lost_grows_slower_than_at_random() -> None:
    points = simulate(3, people=60, answers=50)
    assert [point.answers for point in points] == [1, 2, 5, 10, 20, 50]
    assert points[0].saved.low < 0 < points[0].saved.high
    assert points[-1].saved.low > 0
    early, late = points[-2], points[-1]
    assert late.learnt.value - early.learnt.value < 30 * early.learnt.value / 20


def test_a_style_is_said_behind_what_is_said_already() -> None:
    told = ask_in("Be brief.", [Message("system", "You are a clerk."), Message("user", "hi")])
    assert [one.content for one in told] == ["You are a clerk.\nBe brief.", "hi"]
    assert ask_in("Be brief.", [Message("user", "hi")])[0] == Message("system", "Be brief.")


@pytest.mark.parametrize("text", ["styles: {one: x}", "styles: [a, b]", "nothing", "styles: {a: x, b: ''}", ":"])
def test_styles_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "styles.yaml"
    path.write_text(text)
    with pytest.raises(InputError):
        read_styles(path)
