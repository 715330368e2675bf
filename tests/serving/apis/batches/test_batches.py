"""Batches that are begun twice, and ended at the worst moment, in whatever process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.serving.access.call import RequestCall
from rung.serving.apis.batches.batches import OPEN, STOPPABLE, BatchRunner
from rung.serving.http.limits import Limits, RequestQueue
from rung.store import Store, StoredBatch, StoredFile, open_store

PATH = "/v1/chat/completions"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


class Counting(BatchRunner):
    """Answers each line; ``ending``: the batch is cancelled, by another process, while its first line is answered."""

    def __init__(self, store: Store, *, ending: bool = False) -> None:
        super().__init__(store, self.answer, RequestQueue(Limits(running=1)), [PATH], self.called)
        self.asked, self.ending = 0, ending

    async def answer(self, path: str, body: bytes, call: RequestCall) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        if self.ending and self.asked == 1:
            now = self.store.batches.get("batch_1")
            assert now is not None
            assert self.store.batches.change(replace(now, status="cancelling"), STOPPABLE)
        return 200, {"choices": []}

    async def called(self, tenant: str, key: str) -> RequestCall:
        return RequestCall()

    async def end(self) -> str:
        """The batch's status when it is over."""
        while True:
            now = self.store.batches.get("batch_1")
            assert now is not None
            if now.status not in OPEN and not self._running:
                return now.status
            await asyncio.sleep(0.005)


def keep(store: Store, status: str = "validating") -> StoredBatch:
    rows = [{"custom_id": f"c{at}", "url": PATH, "body": {"model": "m"}} for at in range(4)]
    content = "\n".join(map(json.dumps, rows)).encode()
    store.files.put(StoredFile("file-in", "", "in.jsonl", "batch", 0, 1.0), content)
    shown = {"id": "batch_1", "endpoint": PATH, "input_file_id": "file-in", "status": status, "key": ""}
    batch = StoredBatch("batch_1", "", status, json.dumps(shown), "", 1.0, 1.0)
    store.batches.put(batch)
    return batch


async def test_a_batch_that_is_begun_twice_is_worked_on_once(store: Store) -> None:
    batch, runner = keep(store), Counting(store)
    runner.start(batch)
    runner.start(batch)
    assert (await runner.end(), runner.asked) == ("completed", 4)


async def test_a_batch_that_is_ended_while_it_works_stays_ended(store: Store) -> None:
    runner = Counting(store, ending=True)
    runner.start(keep(store))
    assert await runner.end() == "cancelled"


async def test_a_batch_that_was_ended_before_a_kill_is_not_begun_again(store: Store) -> None:
    keep(store, "cancelling")
    runner = Counting(store)
    await runner._look()
    assert (await runner.end(), runner.asked) == ("cancelled", 0)
