"""Splits: exact shares, whole clusters, and rows that never move."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.types import Split
from rung.tasks.split import Item, Lock, draw, lock_path, rank, read_lock, write_lock

SHARES: dict[Split, float] = {"train": 0.6, "dev": 0.15, "test": 0.25}


def items(count: int, labels: int = 5, start: int = 0) -> list[Item]:
    return [Item(f"i{n}", f"key {n}", n, str(n % labels)) for n in range(start, start + count)]


def test_every_stratum_has_its_shares() -> None:
    drawn = draw(items(500), SHARES, 0, {})
    for label in range(5):
        counts = Counter(drawn[f"i{n}"] for n in range(500) if n % 5 == label)
        assert counts == {"train": 60, "dev": 15, "test": 25}


def test_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    rows = items(200)
    assert draw(rows, SHARES, 0, {}) == draw(rows[::-1], SHARES, 0, {})
    assert draw(rows, SHARES, 0, {}) != draw(rows, SHARES, 1, {})


@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 3))
def test_added_rows_never_move_old_ones(before: int, more: int, seed: int) -> None:
    first = draw(items(before), SHARES, seed, {})
    second = draw(items(before + more), SHARES, seed, first)
    assert {id: second[id] for id in first} == first
    assert len(second) == before + more


def test_additions_keep_the_shares() -> None:
    first = draw(items(100), SHARES, 0, {})
    counts = Counter(draw(items(1000), SHARES, 0, first).values())
    assert counts == {"train": 600, "dev": 150, "test": 250}


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_clusters_are_never_torn(clusters: list[int]) -> None:
    rows = [Item(f"i{n}", f"k{n}", cluster, "") for n, cluster in enumerate(clusters)]
    drawn = draw(rows, SHARES, 0, {})
    for cluster in set(clusters):
        assert len({drawn[item.id] for item in rows if item.cluster == cluster}) == 1


def test_a_new_row_joins_its_cluster_and_a_bridge_is_left_out() -> None:
    rows = [Item("a", "a", 1), Item("new", "new", 1)]
    assert draw(rows, SHARES, 0, {"a": "test"}) == {"a": "test", "new": "test"}
    rows = [Item("a", "a", 1), Item("b", "b", 1), Item("bridge", "c", 1)]
    assert draw(rows, SHARES, 0, {"a": "test", "b": "train"}) == {"a": "test", "b": "train", "bridge": "out"}


def test_lock_file_round_trip(tmp_path: Path) -> None:
    path = lock_path(tmp_path / "task.yaml", "x")
    assert path.name == "x.splits.json"
    assert read_lock(path) is None
    lock = Lock({"seed": 3, "train": 0.6}, {"a": "train", "b": "test", "c": "out"})
    write_lock(path, lock, "hash")
    assert read_lock(path) == lock
    assert [file.name for file in tmp_path.iterdir()] == ["x.splits.json"]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"format": 99, "settings": {}, "splits": {}},
        {"format": 1, "settings": {}, "splits": {"train": ["a"], "test": ["a"]}},
    ],
)
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "x.splits.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"format|twice|frozen"):
        read_lock(path)


def test_rank_depends_on_seed_and_key() -> None:
    assert len({rank(seed, key) for seed in (0, 1) for key in ("a", "b")}) == 4
