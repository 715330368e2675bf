"""Work in threads: results and errors come back, and who gives up does not wait."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from rung.core.system.threads import detached, run_stoppable

SAID: ContextVar[str] = ContextVar("said", default="nothing")


async def test_results_errors_and_context_come_through() -> None:
    SAID.set("here")
    assert await detached(SAID.get) == "here"
    with pytest.raises(ZeroDivisionError):
        await run_stoppable(lambda _: 1 / 0)


async def test_cancelled_work_is_told_to_stop_and_waited_for() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        begun.set()
        stop.wait(10)
        ended.set()

    task = asyncio.create_task(run_stoppable(work, grace=10))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_nobody_waits_for_detached_work() -> None:
    begun, free = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return free.wait(10)

    task = asyncio.create_task(detached(work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    free.set()
