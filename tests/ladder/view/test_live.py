"""What a climb shows where nothing moves, and how it is left."""

from __future__ import annotations

import io
import time
from dataclasses import replace

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
