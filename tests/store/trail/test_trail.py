"""Both trails, in memory and in the store: a number is given once, an effect is kept once, what was changed is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from rung.core.errors import InputError, StoreError
from rung.core.types.trail import Driver, Event, Fenced, Kind, MemoryTrail, Trail, recording, trail
from rung.store import Store
from rung.store.trail.tables import blobs, episodes, events


def event(episode: str, seq: int, kind: Kind = "observed", text: str = "") -> Event:
    return Event(episode, seq, kind, {"n": seq, "text": text}, 10.5 + seq)


@pytest.fixture(params=["memory", "full", "normal"])
def kept(request: pytest.FixtureRequest, store: Store) -> Trail:
    return MemoryTrail() if request.param == "memory" else store.episodes.trail(request.param)


async def test_numbers_are_given_once(kept: Trail) -> None:
    await kept.append([event("a", 0), event("a", 1)])
    await kept.append([event("b", 0)])
    for bad in (event("a", 1), event("a", 3), event("b", 0), event("c", 1)):
        with pytest.raises(Fenced):
            await kept.append([bad])
    assert kept.read("a") == [event("a", 0), event("a", 1)]
    assert kept.read("a", 1) == [event("a", 1)]
    assert kept.read("a", 2) == kept.read("none") == []


async def test_one_of_many_that_append_the_same_number_wins(kept: Trail) -> None:
    tries = [kept.append([event("a", 0, text=str(at))]) for at in range(8)]
    done = await asyncio.gather(*tries, kept.append([event("b", 0)]), return_exceptions=True)
    assert sum(one is None for one in done) == 2
    assert [type(one) for one in done if one is not None] == [Fenced] * 7
    assert len(kept.read("a")) == len(kept.read("b")) == 1


async def test_an_effect_is_kept_once(kept: Trail) -> None:
    assert await kept.perform("x/1", "first") == "first"
    assert await kept.perform("x/1", "second") == "first"
    await kept.perform("x_/2", "other")
    assert kept.effects("x/") == [("x/1", "first")]


async def test_lessons_are_an_agents_own(kept: Trail) -> None:
    large = "l" * 9000
    await kept.append([event("a", 0), event("a", 1, "learned", large)], Driver("one", "go"))
    await kept.append([event("b", 0, "learned")], Driver("two"))
    assert [(one.episode, one.payload["text"]) for one in kept.learned("one")] == [("a", large)]


def test_recording_holds_within_its_block() -> None:
    kept = MemoryTrail()
    assert trail() is None
    with recording(kept):
        assert trail() is kept
    assert trail() is None


async def test_payloads_come_back_whatever_they_hold(store: Store) -> None:
    texts = ["plain", "\ud800 half", "nul \0", "é" * 20_000, "\u2028"]
    kept = store.episodes.trail()
    await kept.append([event("a", at, text=text) for at, text in enumerate(texts)])
    assert [one.payload["text"] for one in kept.read("a")] == texts
    with store.database.pool.connect() as link:
        assert link.execute(sa.select(sa.func.count()).select_from(blobs)).scalar_one() == 1


@pytest.mark.parametrize("what", ["payload", "kind", "at", "blob", "gone"])
async def test_what_was_changed_is_named(store: Store, what: str) -> None:
    kept = store.episodes.trail()
    await kept.append([event("a", 0), event("a", 1, text="x" * 9000), event("a", 2)])
    at = 2 if what == "payload" else 1  # the payload of event 1 lies among the blobs
    changed = {"payload": '{"n":9}', "kind": "said", "at": 1.0}
    with store.database.pool.begin() as link:
        if what == "blob":
            link.execute(sa.update(blobs).values(payload='"y"'))
        elif what == "gone":
            link.execute(sa.delete(blobs))
        else:
            link.execute(sa.update(events).where(events.c.seq == at).values({what: changed[what]}))
    with pytest.raises(StoreError) as raised:
        kept.read("a")
    assert raised.value.code == "tampered"
    assert f"event {at}" in raised.value.message


async def test_episodes_are_listed_with_their_state(store: Store) -> None:
    kept = store.episodes.trail()
    states: dict[str, Callable[[str], Event]] = {
        "ended": lambda name: event(name, 1, "ended"),
        "waiting": lambda name: event(name, 1, "asked"),
        "paused": lambda name: Event(name, 1, "steered", {"do": "pause"}, 1.0),
        "running": lambda name: event(name, 1, "said"),
    }
    for name, last in states.items():
        await kept.append([event(name, 0, "begun"), last(name)], Driver("scope", f"is {name}"))
    await kept.append([event("running", 2, "warned", "round in circles")])
    say = {"do": "say", "text": '{"do":"resume"}'}
    await kept.append(
        [event("paused", 2, "observed"), event("paused", 3, "said"), Event("paused", 4, "steered", say, 1.0)]
    )
    found = {one.id: one for one in store.episodes.all()}
    assert {name: one.state for name, one in found.items()} == {name: name for name in states}
    assert (found["running"].steps, found["running"].warned) == (1, "round in circles")
    with store.database.pool.begin() as link:
        link.execute(sa.update(episodes).values(born="another", boot="another/pid"))
    assert store.episodes.find("run").state == "interrupted"
    assert store.episodes.find("last").id in states
    await kept.append([Event("paused", 5, "steered", {"do": "resume"}, 1.0)])
    assert store.episodes.find("paused").state == "interrupted"
    for bad in ("none", "", "%"):
        with pytest.raises(InputError):
            store.episodes.find(bad)


async def test_the_newest_episode_is_the_one_begun_last_whatever_the_clock_said(store: Store) -> None:
    kept = store.episodes.trail()
    for at, name in enumerate("abc"):
        await kept.append([Event(name, 0, "begun", {}, 1000.0 - 100 * at)], Driver("scope", name))
    await kept.append([Event("a", 1, "resumed", {}, 1001.0)], Driver("scope", "a"))
    assert [one.id for one in store.episodes.all()] == (["c", "b", "a"] if store.database.lite else ["a", "b", "c"])


async def test_old_episodes_are_forgotten_unless_their_agent_is_used(store: Store) -> None:
    kept = store.episodes.trail()
    await kept.append([event("old", 0), event("old", 1, text="z" * 9000)], Driver("gone"))
    await kept.append([event("kept", 0, "learned")], Driver("used"))
    await kept.append([Event("new", 0, "begun", {}, 2e9)], Driver("used"))
    assert store.gc(before=1e9, dry=True).episodes == store.gc(before=1e9).episodes == 1
    assert kept.read("old") == []
    assert [one.episode for one in kept.learned("used")] == ["kept"]
    with store.database.pool.connect() as link:
        assert link.execute(sa.select(sa.func.count()).select_from(blobs)).scalar_one() == 0
