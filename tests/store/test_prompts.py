"""Versions of prompts in every database, and a store from before there were any."""

from __future__ import annotations

import pytest

from rung.store import Store, StoredPrompt


def version(name: str, text: str, root: str = "", root_hash: str = "") -> StoredPrompt:
    return StoredPrompt(name, f"hash of {text}", root, root_hash, f'"{text}"')


def test_versions_count_from_one_and_what_says_the_same_is_not_stored_twice(store: Store) -> None:
    saved = store.prompts.put([version("a", "one"), version("b", "uno", "a", "h")])
    assert [(row.name, row.version) for row in saved] == [("a", 1), ("b", 1)]
    again = store.prompts.put([version("a", "one"), version("b", "due", "a", "h")])
    assert [(row.name, row.version) for row in again] == [("a", 1), ("b", 2)]
    assert store.prompts.get("b") == again[1]
    assert store.prompts.get("b", 1) == saved[1]
    assert store.prompts.get("b", 3) is store.prompts.get("c") is None
    assert [row.version for row in store.prompts.all("b")] == [2, 1]
    assert [(row.name, row.version) for row in store.prompts.all()] == [("a", 1), ("b", 2)]


def test_going_back_is_a_new_version(store: Store) -> None:
    for text in ("one", "two", "one"):
        store.prompts.put([version("a", text)])
    assert [row.payload for row in store.prompts.all("a")] == ['"one"', '"two"', '"one"']


def test_all_or_none_are_stored(store: Store) -> None:
    with pytest.raises(ValueError, match="NUL"):
        store.prompts.put([version("a", "one"), version("b", "x\0")])
    assert store.prompts.all() == []


def test_odd_names_and_texts(store: Store) -> None:
    row = StoredPrompt("ñ% _", "h", "", "", '"\\ud800 é"', "a note\0")
    (saved,) = store.prompts.put([row])
    assert store.prompts.get("ñ% _") is not None
    assert store.prompts.get("ñ%") is None
    assert saved.payload == row.payload
