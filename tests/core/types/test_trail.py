"""Events are appended once; the second append of a number is refused."""

from __future__ import annotations

import pytest

from rung.core.types.trail import Driver, Event, Fenced, MemoryTrail, recording, trail


def event(episode: str, seq: int, kind: str = "observed") -> Event:
    return Event(episode, seq, kind, {"n": seq}, 0.0)  # type: ignore[arg-type]


async def test_numbers_are_given_once() -> None:
    kept = MemoryTrail()
    await kept.append([event("a", 0), event("a", 1)])
    await kept.append([event("b", 0)])
    with pytest.raises(Fenced):
        await kept.append([event("a", 1)])
    with pytest.raises(Fenced):
        await kept.append([event("a", 3)])
    assert [one.seq for one in kept.read("a")] == [0, 1]
    assert kept.read("a", 1) == [event("a", 1)]
    assert kept.read("none") == []


async def test_an_effect_is_kept_once() -> None:
    kept = MemoryTrail()
    assert await kept.perform("x/1", "first") == "first"
    assert await kept.perform("x/1", "second") == "first"
    assert kept.effects("x/") == [("x/1", "first")]


async def test_lessons_are_an_agents_own() -> None:
    kept = MemoryTrail()
    await kept.append([event("a", 0), event("a", 1, "learned")], Driver("one"))
    await kept.append([event("b", 0, "learned")], Driver("two"))
    assert [one.episode for one in kept.learned("one")] == ["a"]


def test_recording_holds_within_its_block() -> None:
    kept = MemoryTrail()
    assert trail() is None
    with recording(kept):
        assert trail() is kept
    assert trail() is None
