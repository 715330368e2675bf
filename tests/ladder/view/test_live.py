"""What a climb shows where nothing moves, and how it is left."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console

from rung.core.settings import Settings
from rung.core.types import Progress, RungChoice, Task, Usage
from rung.ladder.climb import Climber
from rung.ladder.prepare.observer import Silent
from rung.ladder.records import RungRecord
from rung.ladder.view.live import Display
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.store import Store


def test_a_line_now_and_then_says_how_far_it_is() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=80), every=0.2) as display:
        display.rung_started("lora-f16")
        display.fitting("lora-f16", Progress("train", 41, 88, "loss 1.234", Usage(prompt_tokens=512, money=0.25)))
        until = time.monotonic() + 10
        while "lora-f16" not in out.getvalue() and time.monotonic() < until:
            time.sleep(0.05)
    (line, *_) = out.getvalue().splitlines()
    for said in ("lora-f16", "train 41/88", "left", "loss 1.234", "elapsed", "512 tokens", "$0.25 so far"):
        assert said in line


class Skipping(Silent):
    """Skips the rung named, from its first answer on."""

    def run_started(self, run: object, rungs: object, control: object) -> None:
        self.control = control
        self.done: list[RungRecord] = []

    def answering(self, title: str, *rest: object) -> None:
        if title == "zero-shot":
            self.control.skip()  # type: ignore[attr-defined]

    def rung_done(self, record: RungRecord) -> None:
        self.done.append(record)


async def test_a_rung_can_be_left_and_the_next_one_begins(task: Task, store: Store, settings: Settings) -> None:
    pool = Pool(settings, default="fake:echo")
    pool.add(Fake(latency=0.01), "fake:echo")
    chosen = replace(task, rungs=(RungChoice("zero-shot"), RungChoice("linear")))
    run = await Climber(chosen, store, pool, settings, Skipping()).climb()
    zero, linear = run.rungs
    assert (zero.status, linear.status, run.status) == ("skipped", "done", "done")
    assert "--rung zero-shot" in zero.reason
    assert run.recommendation is not None
    assert run.recommendation.rung == "linear"


class Told:
    def __init__(self) -> None:
        self.said: list[str] = []

    def skip(self) -> None:
        self.said.append("skip")

    def stop(self) -> None:
        self.said.append("stop")


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
    interrupts = Interrupts(Told(), lambda _: None, lambda _: None)
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


def signalled(*words: object) -> list[str]:
    """What a process of its own was told after each signal that it got (a test's own process is not to be killed)."""
    command = [sys.executable, "-c", _SIGNALLED, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_without_a_terminal_stops(number: signal.Signals) -> None:
    assert signalled("heard", int(number)) == ["stop"]


def test_where_a_shell_ignores_ctrl_c_it_stays_so() -> None:
    assert signalled("ignored", int(signal.SIGINT), int(signal.SIGTERM)) == ["", "stop"]
