from __future__ import annotations

import asyncio

import pytest

from rung.serving.apis.wire.refused import Refused
from rung.serving.http.limits import Limits, RequestQueue


async def test_running_and_waiting_are_bounded_and_given_back() -> None:
    queue = RequestQueue(Limits(running=2, waiting=1))
    release = asyncio.Event()
    most = 0

    async def work() -> None:
        nonlocal most
        async with queue.turn():
            most = max(most, queue.running)
            await release.wait()

    tasks = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (queue.running, queue.waiting) == (2, 1)
    with pytest.raises(Refused) as caught:
        await work()
    assert caught.value.status == 503
    assert caught.value.retry_after == 1
    tasks[2].cancel()  # whoever leaves the line gives its place back
    await asyncio.sleep(0)
    assert queue.waiting == 0
    tasks[2] = asyncio.create_task(work())
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*tasks)
    assert (queue.running, queue.waiting, most) == (0, 0, 2)


async def test_a_failure_gives_its_place_back() -> None:
    queue = RequestQueue(Limits(running=1, waiting=0))
    for _ in range(3):
        with pytest.raises(KeyError):
            async with queue.turn():
                raise KeyError
    async with queue.turn():
        assert queue.running == 1
