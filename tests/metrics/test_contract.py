"""Every metric keeps the contract of core.protocols.Metric."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rung.core.codec import decode, encode
from rung.core.errors import InputError, Unsupported
from rung.core.protocols import Metric
from rung.core.types import Case, Failure, Score, Step
from rung.metrics import load_metric
from rung.metrics.names import METRICS
from tests.metrics.material import Shelf, pairs

ARGUMENTS = {
    "schema-valid": '{"type": "object", "required": ["item"]}',
    "judge": "helpfulness",
    "judge-pair": "helpfulness",
    "policy": "support-reply/policy.yaml",
    "tone": "support-reply/tone.jsonl",
}
JSON = ("json-valid", "schema-valid", "field-f1")
RANKINGS = ("recall", "precision", "hit", "mrr", "map", "ndcg")
LABELS = ("accuracy", "macro-f1", "micro-f1")
GROUNDED = ("faithfulness", "citation-precision", "citation-recall", "context-precision", "context-recall")


def spec_of(name: str) -> str:
    return f"{name}:{ARGUMENTS[name]}" if name in ARGUMENTS else name


def cases_for(name: str) -> list[Case]:
    """Right, wrong and half right ones, and two failures."""
    failure = Failure("parse", "no answer in the reply")
    if name in JSON:
        order = {"item": "lamp", "count": 2}
        outputs = [order, {"item": "lamp", "count": 3}, "not json", {"count": 2}, '{"item": "Lamp"}', order]
        cases = [Case({"text": "two lamps"}, output, order) for output in outputs]
    elif name in LABELS:
        labels = ["card lost", "pin", "fee", "pin", "fee", "card lost"]
        cases = [Case({"text": "…"}, got, want) for got, want in zip(["pin", *labels[1:5], "?"], labels, strict=True)]
    elif name == "pass":
        question, tests = {"text": "Write a function to add two numbers."}, ["assert add(1, 2) == 3"]
        cases = [Case(question, f"def add(a, b):\n    return {body}\n", tests) for body in ("a + b", "a - b", "")]
    elif name.startswith("ifeval"):
        wanted = '["punctuation:no_comma", "startend:quotation"]'
        cases = [Case({"text": "…"}, text, wanted) for text in ('"a"', "a, b", "a", '"a, b"', '"a', '"b"')]
    elif name in ("policy", "tone"):
        replies = [
            "Hei,\n\nThe label in the box is free.\n\nHa det fint ute,\nFjellbua",
            "We regret to inform you!",
            "Hei there",
        ]
        cases = [Case({"facts": "Returns: 30 days.", "message": "Thanks"}, text, replies[0]) for text in replies * 2]
    elif name in RANKINGS:
        outputs = [["a", "b", "c"], ["c", "b", "a"], ["x", "a"], ["x"], [], ["b", "a", "a"]]
        cases = [Case({"query": "…"}, output, {"a": 2, "b": 1, "d": 0}) for output in outputs]
    elif name in GROUNDED:
        cases = [
            grounded(text) for text in ("Davy made the lamp", "Otters eat urchins", "Davy made it in 1820. Otters swim")
        ]
    elif name == "number":
        cases = [Case({"q": "…"}, f"so it is {i % 3}.", f"#### {i % 2}") for i in range(6)]
    else:
        cases = [Case({"text": b[:80]}, a, b) for a, b in pairs(6)] + [Case({"text": "x"}, "the same", "the same")]
    return [*cases, Case({"text": "x"}, None, cases[0].reference, failure=failure), cases[0]]


def grounded(text: str) -> Case:
    """An answer over one passage that it was shown and cites."""
    passage = "Humphry Davy made the safety lamp in 1815."
    claims = [{"text": part, "marks": [1]} for part in text.split(". ")]
    cite = {"claims": claims, "citations": [{"mark": 1, "quote": passage}]}
    steps = (Step("retrieve", reply=json.dumps([{"text": passage}])), Step("cite", reply=json.dumps(cite)))
    return Case({"question": "Who?"}, text, ["Davy"] if "Davy" in text else ["otters"], steps=steps)


@pytest.fixture(params=sorted(METRICS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def metric(name: str) -> Metric:
    try:
        return load_metric(spec_of(name), Shelf())
    except Unsupported as error:
        pytest.skip(error.message)


async def test_scores_are_complete_and_readable(name: str, metric: Metric) -> None:
    cases = cases_for(name)
    scores = await metric.score(cases)
    assert metric.name == spec_of(name)
    assert len(scores) == len(cases)
    assert all(0 <= score.value <= 1 and isinstance(score.value, float) and score.why for score in scores)
    assert scores[0] == scores[-1], "the same case scores the same wherever it stands"
    assert len({score.value for score in scores}) > 1, "the cases differ, so should the scores"


async def test_a_failure_is_the_worst_score_and_says_why(name: str, metric: Metric) -> None:
    scores = await metric.score(cases_for(name))
    assert scores[-2].value == 0 == min(score.value for score in scores)
    assert "no answer in the reply" in scores[-2].why


async def test_reduce_on_draws_is_reduce_on_the_drawn_scores(name: str, metric: Metric) -> None:
    scores = await metric.score(cases_for(name))
    draws = np.random.default_rng(0).integers(0, len(scores), (50, len(scores)))
    whole = metric.reduce(scores)
    assert whole.shape == (1,)
    assert metric.reduce(scores, np.arange(len(scores))[None, :]) == pytest.approx(whole)
    found = metric.reduce(scores, draws)
    assert found.shape == (50,)
    assert found == pytest.approx([metric.reduce([scores[i] for i in row])[0] for row in draws])
    assert metric.reduce(scores, draws[:, :3]).shape == (50,), "rows may be shorter: the jackknife needs it"


async def test_scores_survive_the_journal(name: str, metric: Metric) -> None:
    scores = await metric.score(cases_for(name))
    back = [decode(Score, json.loads(json.dumps(encode(score)))) for score in scores]
    assert metric.reduce(back) == pytest.approx(metric.reduce(scores), abs=0)


def test_no_scores_is_an_error_not_a_nan(metric: Metric) -> None:
    with pytest.raises(InputError, match="no scores"):
        metric.reduce([])


def test_an_empty_batch_is_fine(metric: Metric) -> None:
    import asyncio

    assert asyncio.run(metric.score([])) == []


def test_loading_explains_mistakes() -> None:
    with pytest.raises(InputError, match="unknown metric") as caught:
        load_metric("acuracy", Shelf())
    assert "accuracy" in caught.value.remedy
    with pytest.raises(InputError, match="takes no argument"):
        load_metric("accuracy:strict", Shelf())
    with pytest.raises(InputError, match="expected nothing or 'stem'"):
        load_metric("rouge-l:porter", Shelf())
    with pytest.raises(InputError, match="no rubric"):
        load_metric("judge", Shelf())
    with pytest.raises(InputError, match="cannot read the schema"):
        load_metric("schema-valid:missing.json", Shelf())
    with pytest.raises(InputError, match="not a JSON schema"):
        load_metric('schema-valid:{"type": "objekt"}', Shelf())
