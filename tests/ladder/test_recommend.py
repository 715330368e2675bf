"""What a climb says about its rungs, from scores and costs that are known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rung.core.settings import Settings
from rung.core.types import Answer, Example, Interval, Result, Score, Task, Usage
from rung.ladder.recommend import compare
from rung.ladder.records import Offline, Online, Recommendation, RungRecord
from rung.metrics import load_metric
from rung.models import Pool

N = 60


def record(title: str, right: int, cost: float, **more: object) -> RungRecord:
    online = Online(N, 100, 90, 10, 0, 0.0, 0.1, cost)
    plain = RungRecord(
        title, title, "done", n=N, planned=N, metrics={"accuracy": Interval(right / N, 0, 1)}, online=online
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def judge(
    task: Task, pool: Pool, settings: Settings, records: Sequence[RungRecord]
) -> tuple[dict[str, RungRecord], Recommendation]:
    scored = {
        r.title: [
            Result(Example(str(i), {"text": "x"}, "a"), Answer("a"), {"accuracy": Score(float(i < right))})
            for i in range(N)
        ]
        for r in records
        for right in [round(r.metrics["accuracy"].value * N)]
    }
    metric = load_metric("accuracy", pool)
    out, choice = asyncio.run(compare(replace(task, tolerance=0.02), metric, records, scored, settings["core_hour"]))
    return {r.title: r for r in out}, choice


TUNING = {"tuned": True, "offline": Offline(300.0, 3600.0, Usage())}


def test_a_fit_pays_back_after_as_many_answers_as_its_cost_is_of_what_each_saves(
    task: Task, pool: Pool, settings: Settings
) -> None:
    records = [record("zero-shot", 20, 2e-5), record("few-shot", 40, 1e-4), record("lora-q8", 40, 2e-5, **TUNING)]
    out, choice = judge(task, pool, settings, records)
    expected = settings["core_hour"] / (1e-4 - 2e-5)  # an hour of a core
    assert out["lora-q8"].payback == pytest.approx(expected)
    assert out["few-shot"].payback is None
    assert any("pays back after" in sentence for sentence in choice.why)


def test_a_fit_that_saves_nothing_never_pays_back_and_one_that_is_better_buys_quality(
    task: Task, pool: Pool, settings: Settings
) -> None:
    records = [record("zero-shot", 40, 1e-5), record("lora-q8", 40, 2e-5, **TUNING)]
    out, choice = judge(task, pool, settings, records)
    assert out["lora-q8"].payback is None
    assert any("never pays back" in sentence for sentence in choice.why)
    records = [record("zero-shot", 20, 1e-5), record("lora-q8", 40, 2e-5, **TUNING)]
    out, choice = judge(task, pool, settings, records)
    assert (out["lora-q8"].payback, choice.rung) == (None, "lora-q8")
    assert any("buys quality" in sentence for sentence in choice.why)
    _, choice = judge(task, pool, settings, records[1:])
    assert not any("buys quality" in sentence for sentence in choice.why)
    assert any("what it buys is not known" in sentence for sentence in choice.why)


def test_how_far_prompts_got_is_said_where_a_tuned_rung_stands_beside_them(
    task: Task, pool: Pool, settings: Settings
) -> None:
    grounded = {"accuracy": Interval(0.5, 0, 1), "faithfulness": Interval(0.75, 0, 1)}
    records = [
        record("zero-shot", 12, 1e-5),
        record("few-shot", 30, 3e-5, failures={"parse": 3, "model": 2}, metrics=grounded),
        record("persona", 30, 4e-5),
        record("chain", 24, 5e-5),
    ]
    _, choice = judge(task, pool, settings, records)
    assert not any(sentence.startswith("Prompts reach") for sentence in choice.why)
    _, choice = judge(task, pool, settings, [*records, record("lora-q8", 50, 2e-5, **TUNING)])
    assert (
        "Prompts reach 0.500 (few-shot); 2 dearer ones are no better; 3 of its 60 answers (5.0%) are not of the form asked for; "
        "25% of its claims are not in the passages."
    ) in choice.why


def test_nothing_is_recommended_where_nothing_is_right(task: Task, pool: Pool, settings: Settings) -> None:
    _, choice = judge(task, pool, settings, [record("rules", 0, 1e-7), record("zero-shot", 0, 2e-5)])
    assert choice.rung == ""
    assert "none got anything right (accuracy 0 on 60 items)" in choice.why[0]
    _, choice = judge(task, pool, settings, [record("rules", 0, 1e-7), record("zero-shot", 1, 2e-5)])
    assert choice.rung == "zero-shot"
