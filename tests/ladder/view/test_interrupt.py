"""Signals while a climb runs, in a process of its own: a test's is not to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_SIGNALLED = """
import asyncio, os, signal, sys
from rung.ladder.view.interrupt import Interrupts

class Told:
    said = []
    def skip(self): self.said.append("skip")
    def stop(self): self.said.append("stop")

async def work():
    # A test run that was started in the background of a shell ignores SIGINT, and so would this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == "ignored" else signal.default_int_handler)
    interrupts = Interrupts(Told(), lambda text: print(text, file=sys.stderr, flush=True), lambda _: None)
    for number in map(int, sys.argv[2:]):
        before = len(Told.said)
        os.kill(os.getpid(), number)
        for _ in range(20):
            await asyncio.sleep(0.05)
            if len(Told.said) > before:
                break
        print(*Told.said, flush=True)
    interrupts.close()

asyncio.run(work())
"""


def signalled(*words: object, status: int = 0) -> tuple[list[str], list[str]]:
    """What the process was told after each signal that it got, and what it said."""
    command = [sys.executable, "-c", _SIGNALLED, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_without_a_terminal_stops(number: signal.Signals) -> None:
    assert signalled("heard", int(number)) == (["stop"], ["stopping ..."])


def test_where_a_shell_ignores_ctrl_c_it_stays_so() -> None:
    assert signalled("ignored", int(signal.SIGINT), int(signal.SIGTERM))[0] == ["", "stop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_stops_and_once_more_ends_the_process(number: signal.Signals) -> None:
    told, said = signalled("heard", int(number), int(number), status=130)
    assert told == ["stop"]
    assert said[0] == "stopping ..."
    assert said[1].startswith("stopped at once")
