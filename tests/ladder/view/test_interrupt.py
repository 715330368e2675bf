"""Signals while a climb runs, in a process of its own: the second one ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CLIMB = """
import asyncio, signal, sys
from rung.ladder.view.interrupt import Interrupts

class Control:
    def skip(self): print("skip", flush=True)
    def stop(self): print("stop", flush=True)

async def climb():
    Interrupts(Control(), lambda text: print(text, flush=True), lambda paused: None)
    print("ready", flush=True)
    await asyncio.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs tests may ignore Ctrl-C, and so would a climb
sys.stdin = None  # no terminal that could be asked
asyncio.run(climb())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_stops_and_once_more_ends_the_process(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", CLIMB], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert [child.stdout.readline() for _ in range(2)] == ["stopping ...\n", "stop\n"]
        assert child.poll() is None
        child.send_signal(number)
        assert child.stdout.readline().startswith("stopped at once")
        assert child.wait(20) == 130
