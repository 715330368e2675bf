"""Signals while a climb runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from rung.ladder.view.interrupt import Interrupts


class Told:
    """A climb under way that only notes what it is told."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def skip(self) -> None:
        self.orders.append("skip")

    def stop(self) -> None:
        self.orders.append("stop")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_once_stops_and_once_more_ends_the_process(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    ended: list[int] = []
    climb = Told()
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(sys, "stdin", None)  # no terminal that could be asked
    before = signal.signal(number, signal.default_int_handler)  # a worker of xdist ignores Ctrl-C, and so would a climb
    interrupts = Interrupts(climb, said.append, lambda paused: None)
    try:
        for times in (1, 2):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(20):
                while len(said) < times:
                    await asyncio.sleep(0.01)
            assert ended == [130] * (times - 1)
    finally:
        interrupts.close()
        signal.signal(number, before)
    assert climb.orders[0] == "stop"
    assert said[0] == "stopping ..."
    assert said[1].startswith("stopped at once")
