"""Served requests in every database: queued, bounded, judged, read in order, deleted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from rung.store import Store, StoredResult, open_store
from rung.store.engine import journal
from rung.store.people.forgetting import forget_old


async def test_noted_requests_are_read_in_order_and_judged(store: Store, url: str) -> None:
    for number in range(2500):  # more than one chunk
        assert store.served.note(f"id-{number:04}", "a" if number % 2 else "b", f'{{"n": {number}, "x": "\\ud800"}}')
    await store.settle()
    with open_store(url) as other:
        rows = list(other.served.all())
        assert sorted(row.id for row in rows) == [f"id-{number:04}" for number in range(2500)]
        assert [row.created for row in rows] == sorted(row.created for row in rows)
        assert len(list(other.served.all("a"))) == 1250
        assert other.served.judge("nobody", score=1.0) is None
        assert list(other.served.all("nothing")) == []
        first = other.served.judge("id-0007", score=0.5)
        assert first is not None
        assert (first.score, first.correction) == (0.5, None)
        second = other.served.judge("id-0007", correction="right\0")
        assert second is not None
        assert (second.score, second.correction, second.model) == (0.5, "right\ufffd", "a")
        assert second.changed is not None
        assert abs(second.changed - time.time()) < 60


async def test_they_are_written_by_themselves_while_more_keep_coming(store: Store) -> None:
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < 10:
        store.served.note(str(number), "m", "{}")
        number += 1
        if number % 50 == 0 and next(store.served.all(), None) is not None:
            break
        await asyncio.sleep(0.002)
    assert next(store.served.all(), None) is not None


async def test_the_queue_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "QUEUE", 1000)
    assert store.served.note("1", "m", "x" * 600)
    assert not store.served.note("2", "m", "x" * 600)
    assert store.served.note("3", "m", "x" * 300)
    await store.settle()
    assert store.served.note("4", "m", "x" * 2000)  # one that is larger than the queue still has its turn
    await store.settle()
    assert [row.id for row in store.served.all()] == ["1", "3", "4"]


async def test_old_ones_are_deleted(store: Store) -> None:
    store.served.note("1", "m", "{}")
    await store.settle()
    between = time.time()
    await asyncio.sleep(0.01)
    store.served.note("2", "m", "{}")
    await store.settle()
    assert forget_old(store.database, between) == 1
    assert [row.id for row in store.served.all()] == ["2"]
    assert forget_old(store.database, between) == 0


async def test_what_is_deleted_is_gone_from_the_files(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'db'}") as store:
        for number in range(200):
            store.served.note(str(number), "m", f'"private-{number:05}-words"' + " " * 500)
        await store.settle()
        forget_old(store.database, time.time() + 1)
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"private-" not in kept


def test_closing_writes_what_is_queued(url: str) -> None:
    with open_store(url) as store:
        store.served.note("1", "m", "{}")
    with open_store(url) as store:
        assert [row.id for row in store.served.all()] == ["1"]
        store.close()
        assert not store.served.note("2", "m", "{}")


async def test_of_results_of_one_write_the_answer_stays(store: Store) -> None:
    failed = [StoredResult("s", key, '"failed"', failed=True) for key in "abc"]
    answers = [StoredResult("s", key, f'"{key}"') for key in "abc"]
    await store.results.put([failed[0], answers[0], answers[1], failed[1], answers[2]])
    await asyncio.gather(store.results.put([failed[0]]), store.results.put([failed[2]]))
    kept = store.results.get("s", ["a", "b", "c"])
    assert {key: (row.payload, row.failed) for key, row in kept.items()} == {key: (f'"{key}"', False) for key in "abc"}
