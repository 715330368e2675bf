"""Calls of a model that failed: told in the provider's words, in no figure, and nothing is decided by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, cycle, repeat
from pathlib import Path

import pytest

from rung.core.errors import AuthError, ModelError, RateLimited, ServerError
from rung.core.settings import Settings
from rung.core.types import Answer, Example, Failure, Interval, Result, RungChoice, Score, Task
from rung.ladder.climb import Climber
from rung.ladder.history import read_results
from rung.ladder.measure.calls import demand, sentence
from rung.ladder.recommend import compare
from rung.ladder.records import Online, RungRecord, RunRecord
from rung.ladder.view.report import write_report
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.store import Store

NO = AuthError("fake:echo refused the key: 401 NOSUCHKEY")


def failing(settings: Settings, failures: Iterable[ModelError | None]) -> tuple[Pool, Fake]:
    model = Fake(failures=failures)
    pool = Pool(settings, default="fake:echo")
    pool.add(model, "fake:echo")
    return pool, model


async def climb(
    task: Task, rungs: str, store: Store, settings: Settings, failures: Iterable[ModelError | None]
) -> tuple[RunRecord, Fake]:
    pool, model = failing(settings, failures)
    chosen = replace(task, rungs=tuple(map(RungChoice, rungs.split())))
    return await Climber(chosen, store, pool, settings).climb(), model


@pytest.mark.parametrize("error", [NO, ModelError("404 no such model", status=404)], ids=["401", "404"])
async def test_every_call_refused_is_no_score(
    task: Task, store: Store, settings: Settings, tmp_path: Path, error: ModelError
) -> None:
    run, _ = await climb(task, "zero-shot", store, settings, repeat(error))
    (zero,) = run.rungs
    assert (zero.status, zero.metrics, zero.online, zero.unanswered) == ("failed", {}, None, zero.n)
    assert error.message in zero.reason
    assert run.recommendation is not None
    assert run.recommendation.rung == ""
    assert any(error.message in why for why in run.recommendation.why)
    results = await read_results(store, run, "zero-shot", Pool(settings, default="fake:echo"))
    assert {r.answer.failure.message for r in results if r.answer.failure is not None} == {error.message}
    html = await write_report(run, store, Pool(settings, default="fake:echo"), tmp_path / "report.html")
    assert error.message in html.read_text()


async def test_a_model_that_answers_nothing_is_asked_once_a_rung_after_that(
    task: Task, store: Store, settings: Settings
) -> None:
    task = replace(task, persona="a clerk")
    run, model = await climb(task, "linear zero-shot persona", store, settings, repeat(NO))
    assert len(model.calls) <= 1 + 32 + 1  # warm, a wave, and the second rung's first
    assert [record.status for record in run.rungs] == ["done", "failed", "failed"]
    assert run.recommendation is not None
    assert run.recommendation.rung == "linear"
    assert sum(NO.message in why for why in run.recommendation.why) == 2


async def test_a_rung_does_not_choose_by_failed_calls(task: Task, store: Store, settings: Settings) -> None:
    run, _ = await climb(task, "few-shot-knn", store, settings, repeat(ServerError("503 on dev")))
    assert run.rungs[0].status == "failed"
    assert "503 on dev" in run.rungs[0].reason
    assert run.rungs[0].n == 0


def some(bad: int, every: int, error: ModelError) -> Iterator[ModelError | None]:
    return chain([None], cycle([*[None] * (every - bad), *[error] * bad]))


async def test_a_few_failed_calls_are_left_out_and_asked_again(task: Task, store: Store, settings: Settings) -> None:
    run, _ = await climb(task, "linear zero-shot", store, settings, some(1, 11, RateLimited("429 slowly")))
    zero = run.rung("zero-shot")
    assert zero is not None
    assert zero.unanswered == 3
    assert zero.said == "429 slowly"
    assert zero.online is not None
    assert zero.online.n == zero.n - 3
    assert zero.baseline is None
    assert zero.best is None or zero.best.n == 30  # compared where both have answers
    again, model = await climb(task, "linear zero-shot", store, settings, ())
    assert len(model.calls) == 4  # the warm-up, and the three
    assert again.rungs[1].unanswered == 0


async def test_too_many_failed_calls_are_no_measurement(task: Task, store: Store, settings: Settings) -> None:
    run, _ = await climb(task, "zero-shot", store, settings, some(1, 3, ServerError("500 oh")))
    assert run.rungs[0].status == "failed"
    assert 0 < run.rungs[0].unanswered < run.rungs[0].n
    assert run.recommendation is not None
    assert run.recommendation.rung == ""


@pytest.mark.parametrize(("lost", "chosen"), [(0, "cheap"), (1, "cheap"), (3, "")])
async def test_no_choice_where_the_failed_calls_could_change_it(
    task: Task, settings: Settings, lost: int, chosen: str
) -> None:
    down = Failure("model", "503", "server")

    def results(failed: int) -> list[Result]:
        right, wrong = Answer("a"), Answer(None, failure=down)
        return [
            Result(
                Example(str(i), {"text": "x"}, "a"),
                wrong if i < failed else right,
                {"accuracy": Score(float(i >= failed))},
            )
            for i in range(100)
        ]

    def record(title: str, cost: float, failed: int) -> RungRecord:
        online = Online(100 - failed, 9, 9, 0, 0, cost, 0, cost)
        return RungRecord(
            title, title, "done", n=100, planned=100, metrics={"accuracy": Interval(1.0, 0.9, 1.0)}, online=online,
            failures={"model": failed} if failed else {},
        )  # fmt: skip

    records = [record("cheap", 1e-5, lost), record("dear", 1e-3, 0)]
    scored = {"cheap": results(lost), "dear": results(0)}
    metric = load_metric("accuracy", Pool(settings))
    out, choice = await compare(replace(task, tolerance=0.05), metric, records, scored, settings["core_hour"])
    assert choice.rung == chosen
    assert ("calls failed" in choice.why[0]) == (not chosen)
    assert out[0].best is None or out[0].best.n == 100 - lost


def result(failure: Failure | None) -> Result:
    return Result(Example("1", {"text": "x"}, "y"), Answer("y", failure=failure), {"accuracy": Score(1.0)})


def test_what_is_said_of_them() -> None:
    good, bad = result(None), result(Failure("model", "503\nbusy", "server"))
    parse = result(Failure("parse", "no label"))
    assert sentence([good, parse]) == ""
    assert sentence([good, bad]) == "1 of 2 calls failed: 503 busy"
    assert sentence([bad, bad]) == "every call failed: 503 busy"
    other = result(Failure("model", "500", "server"))
    assert sentence([bad, bad, other]) == "every call failed: 2 times: 503 busy; 1 times: 500"
    demand([good] * 20 + [bad])
    with pytest.raises(ModelError) as raised:
        demand([good] * 18 + [bad])
    assert raised.value.code == "server"
