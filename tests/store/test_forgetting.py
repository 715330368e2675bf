"""Forgotten is forgotten: no byte of the file holds the words, and what was not meant is as it was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rung.core.types.memory import MemoryItem
from rung.core.types.trail import Driver, Event
from rung.store import Store, StoredDecision, StoredSignal, open_store
from rung.store.people.forgetting import GONE, forget, forget_old

SECRET = 'I am allergic to "pale" pistachios, née Ö.'


def held(folder: Path, words: bytes) -> bool:
    return any(words in file.read_bytes() for file in folder.iterdir())


def item(id: str, user: str, text: str, slot: str = "") -> MemoryItem:
    return MemoryItem(id, "facts", user, "fact", text, text, "e#0", 0, len(text), slot, 1.0)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("everything", [False, True])
async def test_the_words_are_nowhere_in_the_file(tmp_path: Path, large: bool, everything: bool) -> None:
    more = "x" * 9000 if large else ""
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        trail = store.episodes.trail()
        begun = {"request": f"Hello. {SECRET} {more}", "user": "ada"}
        await trail.append(
            [Event("e", 0, "begun", begun, 1.0), Event("e", 1, "said", {"thought": "a thought"}, 2.0)],
            Driver("s", f"Hello. {SECRET}"),
        )
        await trail.append(
            [Event("f", 0, "begun", {"request": "Another one's", "user": "bob"}, 1.0)], Driver("s", "other")
        )
        trail.memories.keep(
            [item("1", "ada", SECRET), item("2", "ada", "I own a boat."), item("3", "bob", "I own a house.")]
        )
        await store.settle()
        assert trail.memories.edit("ada", "1", "I eat no pistachios at all.")
        assert not trail.memories.edit("bob", "1", "stolen")
        done = forget(store.database, "ada", None if everything else ["1"])
        assert done.items == (2 if everything else 1)
        assert [one.id for one in trail.memories.of("ada")] == ([] if everything else ["2"])
        assert [one.id for one in trail.memories.of("bob")] == ["3"]
        events = trail.read("e")  # the chain is whole
        assert [event.kind for event in events] == ([] if everything else ["begun", "said"])
        if not everything:
            assert GONE in events[0].payload["request"]
            await trail.append([Event("e", 2, "said", {"thought": "it goes on"}, 3.0)])
            assert len(trail.read("e")) == 3
        assert trail.read("f")[0].payload["request"] == "Another one's"
    for words in ("pistachios", "allergic to", "pale"):
        assert not held(tmp_path, words.encode())
    assert held(tmp_path, b"I own a house.")


def test_the_newest_of_one_slot_holds_and_equal_items_are_kept_once(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        shelf = store.episodes.memories
        shelf.keep([item("1", "ada", "My name is Ada.", "my name"), item("1", "ada", "My name is Ada.", "my name")])
        shelf.keep([item("2", "ada", "My name is Berg.", "my name"), item("3", "bob", "My name is Bob.", "my name")])
        assert [one.text for one in shelf.of("ada")] == ["My name is Berg."]
        assert shelf.users() == [("ada", 1), ("bob", 1)]
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert [one.text for one in store.episodes.memories.of("ada", "facts")] == ["My name is Berg."]
        assert store.episodes.memories.of("ada", "other") == []


async def test_what_is_old_goes_with_what_was_said_of_it_and_what_waits_for_a_person_stays(store: Store) -> None:
    for id in ("old", "new"):
        store.served.note(id, "m", "{}")
        store.signals.add([StoredSignal(id, "edit", 1.0, f"words about {id}")])
    await store.settle()
    verdicts = {"blocked": "blocked", "waits": "review", "appealed": "blocked", "ruled": "blocked", "young": "blocked"}
    for id, verdict in verdicts.items():
        created = 100.0 if id != "young" else 300.0
        store.decisions.add(StoredDecision(id, "p", f"text of {id}", "harm", 0.9, 0.5, verdict, created=created))
    store.decisions.appeal("appealed", "I did not say that")
    store.decisions.rule("ruled", "allowed", "kim", "a recipe")
    assert forget_old(store.database, 200.0) == 1  # everything served is younger
    assert [row.id for row in store.decisions.all()] == ["appealed", "ruled", "waits", "young"]
    assert forget_old(store.database, time.time() + 60) == 3
    assert list(store.served.all()) == []
    assert store.signals.all() == []
    assert [row.id for row in store.decisions.all()] == ["appealed", "ruled", "waits"]
