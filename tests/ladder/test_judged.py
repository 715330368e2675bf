"""What a judge said is journalled: it is asked once about one answer, whoever looks at it and however often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.core.types import Case, Failure, RungChoice, Step, Usage
from rung.ladder.climb import Climber
from rung.ladder.history import read_results
from rung.ladder.measure.evaluate import Evaluator
from rung.metrics.rules.judge import Judge, PairJudge, read_rubric
from rung.metrics.texts.grounding import Faithfulness
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.store import Store
from tests import desk

WRITES = replace(CAPABILITIES, score=False)


def cases(*outputs: str) -> list[Case]:
    return [Case({"q": f"question {at}"}, output, "right") for at, output in enumerate(outputs)]


async def asked(
    store: Store, metric: Judge | PairJudge | Faithfulness, given: Sequence[Case]
) -> tuple[list[float], int]:
    """The values, and how many requests the judge's model got for them."""
    model = metric.model
    assert isinstance(model, Fake)
    before = len(model.calls)
    scores = (await Evaluator(store, "r", [metric]).score(given))[metric.name]
    return [score.value for score in scores], len(model.calls) - before


async def test_a_judge_is_asked_once_about_an_answer(store: Store) -> None:
    judge = Judge(
        Fake(lambda r: "5" if "fine" in r.messages[-1].content else "1", capabilities=WRITES), read_rubric("ok?")
    )
    given = cases("fine", "bad", "fine")
    first, calls = await asked(store, judge, given)
    assert (first, calls) == ([1.0, 0.0, 1.0], 3)
    assert await asked(store, judge, given) == (first, 0)
    # The same answer by another program that thought and paid otherwise for it: only what the judge sees counts.
    dearer = [replace(case, steps=(Step("x", usage=Usage(calls=3)),)) for case in given]
    assert (await asked(store, judge, dearer))[1] == 3
    paid = [replace(case, steps=(Step("x", usage=Usage(calls=5)),)) for case in given]
    assert (await asked(store, judge, paid))[1] == 0
    assert await asked(store, judge, [*cases("fine", "other"), *given]) == ([1.0, 0.0, *first], 1)
    other = Judge(judge.model, read_rubric("is it kind?"))
    assert (await asked(store, other, given))[1] == 3
    assert (await asked(store, PairJudge(judge.model, read_rubric("ok?")), given))[1] == 6


async def test_the_same_case_twice_is_one_question(store: Store) -> None:
    judge = Judge(Fake({"": "4"}, capabilities=WRITES), read_rubric("ok?"))
    assert await asked(store, judge, cases("a") * 3) == ([0.75] * 3, 1)


async def test_a_judge_that_failed_is_asked_again(store: Store) -> None:
    replies = iter(["no idea", "5", "5"])
    judge = Judge(Fake(lambda _: next(replies), capabilities=WRITES), read_rubric("ok?"))
    assert await asked(store, judge, cases("a")) == ([0.0], 1)
    assert await asked(store, judge, cases("a")) == ([1.0], 1)
    assert await asked(store, judge, cases("a")) == ([1.0], 0)
    failed = [replace(cases("b")[0], failure=Failure("model", "down"))]
    assert await asked(store, judge, failed) == ([0.0], 0)
    assert await asked(store, judge, cases("b")) == ([1.0], 1)


async def test_faithfulness_asks_only_with_a_judge(store: Store) -> None:
    found = [Case({"text": "the king rode to market", "q": "who?"}, "the king went to market", None)]
    assert Faithfulness().fingerprint == ""
    judge = Faithfulness(Fake({"": "yes"}))
    value, calls = await asked(store, judge, found)
    assert calls == 1
    assert await asked(store, judge, found) == (value, 0)


async def test_looking_at_a_run_asks_nothing(store: Store, pool: Pool) -> None:
    task = desk.task(metrics=("judge:helpfulness", "accuracy"), rungs=(RungChoice("linear"),))
    model = Fake({"": "3"}, capabilities=WRITES)
    pool.add(model, "fake:echo")
    run = await Climber(task, store, pool, pool.settings, early=False).climb()
    assert run.rungs[0].metrics["judge:helpfulness"].value == 0.5
    asked = len(model.calls)
    assert asked
    results = await read_results(store, run, "linear", pool)
    assert {result.scores["judge:helpfulness"].value for result in results} == {0.5}
    assert len(model.calls) == asked
