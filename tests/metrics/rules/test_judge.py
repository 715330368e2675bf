from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from rung.core.errors import AuthError, ContextOverflow, InputError
from rung.core.types import Case, Failure, Reply, Request, ScoreRequest, Scores
from rung.metrics import load_metric
from rung.metrics.rules.judge import RUBRICS, Judge, PairJudge, prefer, read_rubric, unjudged
from rung.models.providers.fake import CAPABILITIES, Fake
from tests.metrics.material import Shelf

WRITES = replace(CAPABILITIES, score=False)


class Grader(Fake):
    """Gives candidate probabilities by a table: the first key found in the last message."""

    def __init__(self, table: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.table = table

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        self.calls.extend(requests)
        if len(requests) > 1 and any("very long" in r.messages[-1].content for r in requests):
            raise ContextOverflow("too long")
        out = []
        for request in requests:
            text = request.messages[-1].content
            if "very long" in text:
                raise ContextOverflow("9,000 tokens do not fit")
            weights = next(w for key, w in self.table.items() if key in text)
            logs = tuple(math.log(w) if w else -math.inf for w in weights)
            out.append(Scores(logs, max(range(len(logs)), key=logs.__getitem__)))
        return out


async def test_grade_is_the_mean_under_the_models_probabilities() -> None:
    judge = Judge(Grader({"answer is X": (0.1, 0.1, 0.1, 0.2, 0.5), "": (0, 0, 1, 0, 0)}), read_rubric("Is it good?"))
    good, plain = await judge.score([Case({"q": "?"}, "answer is X", None), Case({"q": "?"}, "Y", None)])
    assert good.parts == pytest.approx((3.9,))
    assert good.value == pytest.approx(2.9 / 4)
    assert plain.value == 0.5
    assert plain.why == "criterion 1 3.0 of 5"


async def test_unexpanded_candidates_leave_the_best() -> None:
    judge = Judge(Grader({"": (0, 0, 0, 0.4, 0)}), read_rubric("Is it good?"))
    (score,) = await judge.score([Case({}, "x", None)])
    assert score.parts == (4.0,)


async def test_criteria_are_judged_one_by_one() -> None:
    judge = Judge(Grader({"clarity:": (0, 0, 0, 0, 1), "": (1, 0, 0, 0, 0)}), RUBRICS["helpfulness"])
    (score,) = await judge.score([Case({"q": "why?"}, "because", None)])
    assert score.parts == (1.0, 5.0)
    assert score.why == "helpfulness 1.0 of 5, clarity 5.0 of 5"
    prompts = [call.messages[-1].content for call in judge.model.calls]  # type: ignore[attr-defined]
    assert len(prompts) == 2
    assert all("because" in prompt and "why?" in prompt for prompt in prompts)


async def test_one_overflow_does_not_cost_the_others_their_grades() -> None:
    judge = Judge(Grader({"": (0, 0, 0, 0, 1)}), read_rubric("good?"))
    cases = [Case({}, "fine", None), Case({}, "very long", None), Case({}, "also fine", None)]
    scores = await judge.score(cases)
    assert [score.value for score in scores] == [1, 0, 1]
    assert "do not fit" in scores[1].why
    assert unjudged(scores) == 1


async def test_written_grades_and_replies_that_are_none() -> None:
    replies = {"one": "4", "two": " **5**/5.", "three": "I'd say it is quite good", "four": "45", "five": "3 of 5"}

    def rules(request: Request) -> Reply:
        text = request.messages[-1].content
        key = next((k for k in replies if f"\n{k}\n" in text), "")
        return Reply(replies[key]) if key else Reply("server broke", finish="error")

    judge = Judge(Fake(rules, capabilities=WRITES), read_rubric("good?"))
    cases = [Case({}, key, None) for key in [*replies, "six"]]
    cases.append(Case({}, None, None, failure=Failure("parse", "no answer")))
    scores = await judge.score(cases)
    assert [score.value for score in scores] == [0.75, 1, 0, 0, 0.5, 0, 0]
    assert unjudged(scores) == 3
    assert scores[2].why == 'the judge failed: expected one of 1, 2, 3, 4, 5, got "I\'d say it is quite good"'
    assert "server broke" in scores[5].why
    assert "no answer" in scores[6].why
    assert all(call.form.labels == ("1", "2", "3", "4", "5") for call in judge.model.calls)  # type: ignore[attr-defined]


async def test_a_judge_that_cannot_log_in_stops_the_scoring() -> None:
    judge = Judge(Fake(failures=[AuthError("401")] * 3, capabilities=WRITES), read_rubric("good?"))
    with pytest.raises(AuthError):
        await judge.score([Case({}, "a", None), Case({}, "b", None)])


async def test_pairs_are_judged_in_both_orders() -> None:
    table = {"Answer A:\ngood": (0.9, 0.1), "Answer B:\ngood": (0.2, 0.8), "": (0.7, 0.3)}
    model = Grader(table)
    cases = [Case({}, "good", "bad"), Case({}, "bad", "good"), Case({}, "x", "y")]
    won, lost, biased = await PairJudge(model, read_rubric("better?")).score(cases)
    assert [won.value, lost.value, biased.value] == [1, 0, 0.5]
    assert won.parts == pytest.approx((0.9, 0.8))
    assert biased.parts == pytest.approx((0.7, 0.3))
    assert "order decided" in biased.why
    assert len(model.calls) == 6
    assert (await prefer(model, read_rubric("b?"), cases[:1], ["bad"]))[0].value == 1


async def test_runs_with_the_fake_model_from_its_spec() -> None:
    shelf = Shelf()
    metric = load_metric("judge:summary@openai:gpt-4o", shelf)
    assert shelf.asked == ["openai:gpt-4o"]
    load_metric("judge:summary@openai:qwen@http://127.0.0.1:8000/v1", shelf)
    assert shelf.asked[-1] == "openai:qwen@http://127.0.0.1:8000/v1"
    (score,) = await metric.score([Case({"text": "long text"}, "short", None)])
    assert 0 <= score.value <= 1
    assert len(score.parts) == 3
    load_metric("judge:write to me@example.org, politely", shelf)
    assert shelf.asked[-1] is None


def test_rubrics() -> None:
    assert [c.name for c in read_rubric("tone: Is it polite?; Is it short?").criteria] == ["tone", "criterion 2"]
    assert read_rubric("correctness").reference
    with pytest.raises(InputError, match="no rubric"):
        read_rubric(" ")
