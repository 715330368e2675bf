"""Letters, in memory and in the store: once to each box, in order per sender, read in one transaction with the reader's events."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rung.core.types.mail import Late
from rung.core.types.trail import Event, Fenced, MemoryTrail, Trail
from rung.store import Store, open_store


def event(seq: int, text: str = "") -> Event:
    return Event("reader", seq, "observed", {"text": text}, 10.0)


@pytest.fixture(params=["memory", "full", "normal"])
def kept(request: pytest.FixtureRequest, store: Store) -> Trail:
    return MemoryTrail() if request.param == "memory" else store.episodes.trail(request.param)


async def test_a_letter_comes_once_and_is_read_with_the_event(kept: Trail) -> None:
    mail = kept.mail
    assert mail.send("b", "a", "1", "one")
    assert not mail.send("b", "a", "1", "again")
    assert mail.send("c", "a", "1", "to another box")
    assert mail.send("b", "a", "2", "two")
    first, second = mail.unread("b")
    assert [letter.text for letter in (first, second)] == ["one", "two"]
    await kept.append([event(0)], None, [first.id])
    assert [letter.text for letter in mail.unread("b")] == ["two"]
    for wrong in ([event(1)], [first.id]), ([event(0)], [second.id]):
        with pytest.raises(Fenced):
            await kept.append(wrong[0], None, wrong[1])
    assert [letter.text for letter in mail.unread("b")] == ["two"]
    assert len(kept.read("reader")) == 1
    assert not mail.send("b", "a", "1", "still not")


@pytest.mark.parametrize(("late", "given"), [("none", []), ("last", ["two"]), ("all", ["one", "two"])])
async def test_subscribers_get_each_once_and_late_ones_what_they_asked_for(
    kept: Trail, late: Late, given: list[str]
) -> None:
    mail = kept.mail
    mail.subscribe("news", "early")
    assert mail.publish("news", "a", "1", "one") == 1
    assert mail.publish("news", "a", "1", "one") == 0
    mail.publish("news", "a", "2", "two")
    mail.publish("other", "a", "1", "elsewhere")
    assert mail.subscribe("news", "late", late) == len(given)
    assert mail.subscribe("news", "late", "all") == 0
    assert mail.publish("news", "b", "3", "three") == 2
    assert [letter.text for letter in mail.unread("early")] == ["one", "two", "three"]
    assert [letter.text for letter in mail.unread("late")] == [*given, "three"]
    assert {letter.topic for letter in mail.unread("late")} == {"news"}


async def test_work_is_held_answered_and_withdrawn(kept: Trail) -> None:
    mail = kept.mail
    for key in ("1", "2", "3"):
        mail.send("work", "boss", key, f"do {key}")
    first, second = mail.take("work"), mail.take("work")
    assert first is not None
    assert second is not None
    assert (first.key, second.key) == ("1", "2")
    assert mail.finish(first, "done 1")
    assert not mail.finish(first, "done 1 again")
    assert mail.withdraw("work", "2")
    assert not mail.withdraw("work", "2")
    assert not mail.finish(second, "done 2")
    assert [letter.text for letter in mail.unread("boss")] == ["done 1"]
    third = mail.take("work")
    assert third is not None
    assert mail.take("work") is None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_what_a_killed_process_held_is_taken_by_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mail.db'}"
    with open_store(url) as store:
        store.episodes.mail.send("work", "boss", "1", "do it")
    child = os.fork()
    if child == 0:
        with open_store(url) as store:
            store.episodes.mail.take("work")
            os.write(1, b"")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with open_store(url) as store:
        letter = store.episodes.mail.take("work")
        assert letter is not None
        assert store.episodes.mail.finish(letter, "done")


async def _read(url: str, seq: int) -> None:
    with open_store(url) as store:
        trail = store.episodes.trail()
        while letters := trail.mail.unread("inbox", 7):
            events = [event(seq + at, letter.text) for at, letter in enumerate(letters)]
            await trail.append(events, None, [letter.id for letter in letters])
            seq += len(events)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_reader_that_is_killed_again_and_again_reads_each_once_and_in_order(tmp_path: Path) -> None:
    import asyncio

    url, draw = f"sqlite:///{tmp_path / 'mail.db'}", random.Random(5)
    senders, each = ("a", "b", "c"), 60
    with open_store(url) as store:
        for number in range(each):
            for sender in senders:
                store.episodes.mail.send("inbox", sender, f"{sender}{number}", f"{sender} {number}")
    kills = 60
    for attempt in range(kills + 1):
        with open_store(url) as store:
            seq = len(store.episodes.read("reader"))
            if not store.episodes.mail.unread("inbox"):
                break
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(_read(url, seq))
                code = 0
            finally:
                os._exit(code)
        if (
            attempt < kills
        ):  # the last one is left to read what is there: how far the others came depends on the machine
            time.sleep(draw.uniform(0.01, 0.06))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with open_store(url) as store:
        seen: Sequence[str] = [one.payload["text"] for one in store.episodes.read("reader")]
    assert len(seen) == len(set(seen)) == each * len(senders)
    for sender in senders:
        assert [text for text in seen if text.startswith(sender)] == [f"{sender} {number}" for number in range(each)]
