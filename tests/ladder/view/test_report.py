from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Interval, Task
from rung.ladder.climb import Climber
from rung.ladder.prepare.fit import Fitted
from rung.ladder.view.numbers import money, seconds
from rung.ladder.view.report import curves, write_report
from rung.models import Pool
from rung.store import Store


class Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


async def test_the_report_is_one_file_that_asks_nobody(
    task: Task, store: Store, pool: Pool, settings: Settings, tmp_path: Path
) -> None:
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    bad = replace(task.test[0], input={"text": attack})
    run = await Climber(replace(task, test=(bad, *task.test[1:])), store, pool, settings).climb()
    path = await write_report(run, store, pool, tmp_path / "out" / "report.html")
    html = path.read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", html)
    assert attack not in html
    parser = Scripts()
    parser.feed(html)
    assert [tag for tag, _ in parser.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in parser.tags]
    for record in run.rungs:
        assert record.title in html
    assert run.recommendation is not None
    assert all(sentence.split(":")[0] in html for sentence in run.recommendation.why[:1])
    assert list(tmp_path.glob("out/.*part")) == []


def test_figures_read_well() -> None:
    assert [seconds(v) for v in (None, 2e-5, 0.0042, 0.25, 12.34, 95, 7200)] == [
        "–", "20 µs", "4.2 ms", "250 ms", "12.3 s", "1 min 35 s", "2.0 h",
    ]  # fmt: skip
    assert [money(v) for v in (0, 0.000123, 12.3456, 1234)] == ["$0", "$0.000123", "$12.3", "$1,234"]


async def test_losses_of_a_training_are_in_the_report(
    store: Store, pool: Pool, settings: Settings, tmp_path: Path
) -> None:
    from rung.core.types import RungChoice
    from rung.ladder.prepare.fit import FitRequest, FitResources, fit
    from rung.ladder.records import RungRecord, RunRecord
    from rung.tuning.weights import unpack
    from tests.tuning.conftest import write_gguf
    from tests.tuning.test_tune import SMALL, Shelf, colours

    base = unpack(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "cache")
    assert base.gguf is not None
    task = colours()

    async def make() -> Fitted:
        given = FitResources(store, Shelf(base.gguf or tmp_path), lambda *_: None, tmp_path / "home", lambda _: None)
        return await fit(FitRequest(RungChoice("lora-f16"), SMALL, task, "m"), given)

    made = await make()
    training = made.training
    assert training is not None
    assert (training.steps, training.total, len(training.train)) == (4, 4, 4)
    assert [point.step for point in training.dev][-1] == 4
    assert training.best in [point.step for point in training.dev]
    again = await make()
    assert (again.reused, again.training) == (True, training)
    metrics = {"accuracy": Interval(0.5, 0.4, 0.6)}
    rungs = tuple(
        RungRecord(title, title, "done", metrics=metrics, training=training, program="")
        for title in ("lora-f16", "lora-q8")
    )
    run = RunRecord("r", "colours", "h", "", "m", ("accuracy",), 0.02, None, {"test": 1}, rungs)
    (picture,) = curves(run)
    assert picture["title"] == "lora-f16, lora-q8"
    xs, ys = zip(*(map(float, pair.split(",")) for pair in picture["train"].split()), strict=True)
    assert list(xs) == sorted(xs)
    # A lower loss stands lower; nothing lies outside of the axes.
    losses = [point.loss for point in training.train]
    assert sorted(range(4), key=lambda i: -ys[i]) == sorted(range(4), key=lambda i: losses[i])
    assert all(0 <= y <= picture["bottom"] for y in ys)
    assert [dot["best"] for dot in picture["dots"]].count(True) == 1
    bare = replace(run, rungs=tuple(replace(rung, metrics={}) for rung in rungs))
    html = (await write_report(bare, store, pool, tmp_path / "report.html")).read_text()
    assert "Losses of lora-f16, lora-q8" in html
    assert f'points="{picture["train"]}"' in html
    assert "all epochs done" in html
