from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, ParityError, ServerError
from rung.core.types import Answer, Case, Example, Failure, ResponseFormat, Result
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.serving.quality.client import Remote
from rung.serving.quality.parity import FILE, ParityTerms, check, refuse
from tests.serving.loopback import LABELS, bare, endpoint, program, serving

METRIC = load_metric("accuracy", Pool())


async def scored(ask: Callable[[Any], Any], n: int) -> list[Result]:
    examples = [Example(str(i), {"text": f"{LABELS[i % 3]} {i}"}, LABELS[i % 3]) for i in range(n)]
    answers = [await ask(example.input) for example in examples]
    scores = await METRIC.score(
        [Case(e.input, a.output, e.reference, a.raw, a.failure) for e, a in zip(examples, answers, strict=True)]
    )
    return [Result(e, a, {METRIC.name: s}) for e, a, s in zip(examples, answers, scores, strict=True)]


def intent() -> Any:
    return program(Fake(), ResponseFormat("labels", labels=LABELS))


def wrong_on(*ids: int, answer: Answer | None = None) -> Any:
    right = intent()

    async def ask(input: Any) -> Answer:
        if int(input["text"].split()[1]) in ids:
            return answer or Answer("none of them")
        return await right(input)  # type: ignore[no-any-return]

    return ask


async def test_the_same_program_is_identical() -> None:
    parity = await check(await scored(intent(), 30), intent(), METRIC)
    assert parity.verdict == "identical"
    assert (parity.n, parity.agreement, parity.changed, parity.difference.value) == (30, 1.0, (), 0.0)
    assert "all 30 test items are answered exactly as in the run" in str(parity)
    refuse(parity)


async def test_a_few_changes_within_the_interval_pass_and_are_listed(tmp_path: Path) -> None:
    parity = await check(await scored(intent(), 60), wrong_on(3), METRIC)
    assert parity.verdict == "equivalent"
    assert parity.difference.value == pytest.approx(-1 / 60)
    assert parity.difference.low <= 0 <= parity.difference.high
    assert [(one.id, one.before, one.after, one.score_before, one.score_after) for one in parity.changed] == [
        ("3", "refund", "none of them", 1, 0)
    ]
    refuse(parity)
    parity.save(tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["changed"][0]["id"] == "3"


async def test_a_drop_beyond_the_interval_is_refused_with_its_items() -> None:
    parity = await check(await scored(intent(), 60), wrong_on(*range(12)), METRIC, ParityTerms(agreement=0.5))
    assert parity.verdict == "different"
    assert parity.difference.high < 0
    with pytest.raises(ParityError, match="leaves out 0") as caught:
        refuse(parity)
    assert "\n    7: 'delivery' became 'none of them' (score 1, now 0)" in str(caught.value)
    assert caught.value.exit_code == 1


async def test_too_few_equal_answers_are_refused_even_at_the_same_score() -> None:
    # Wrong before and wrong after, in another way: the score does not move.
    original = await scored(wrong_on(*range(10)), 60)
    parity = await check(original, wrong_on(*range(10), answer=Answer("something else")), METRIC)
    assert parity.difference.value == 0
    with pytest.raises(ParityError, match=r"83\.3% of the answers agree, 95\.0% are wanted"):
        refuse(parity)
    refuse(
        await check(original, wrong_on(*range(10), answer=Answer("something else")), METRIC, ParityTerms(agreement=0.8))
    )


async def test_failures_count_by_where_they_happened() -> None:
    failed = Answer(None, failure=Failure("parse", "expected a label, got 12:01"))
    original = await scored(wrong_on(1, answer=failed), 30)
    later = Answer(None, failure=Failure("parse", "expected a label, got 12:02"))
    assert (await check(original, wrong_on(1, answer=later), METRIC)).verdict == "identical"
    down = Answer(None, failure=Failure("model", "down"))
    assert len((await check(original, wrong_on(1, answer=down), METRIC)).changed) == 1


async def test_a_program_that_raises_differs_and_nothing_is_not_a_comparison() -> None:
    async def broken(input: Any) -> Answer:
        raise ZeroDivisionError

    parity = await check(await scored(intent(), 30), broken, METRIC)
    assert parity.agreement == 0
    assert "[program failure]" in parity.changed[0].after
    with pytest.raises(InputError):
        await check([], intent(), METRIC)


@pytest.mark.server
async def test_over_http_every_kind_of_answer_is_the_same() -> None:
    made = [
        endpoint(program(), "text"),
        endpoint(intent(), "intent"),
        endpoint(
            program(form=ResponseFormat("json", schema={"type": "object", "properties": {"n": {"type": "integer"}}})),
            "json",
        ),
        endpoint(program(fields=("subject", "body")), "two"),
    ]
    async with serving(*made) as url:
        for one in made:
            ask: Any = one.opened.program
            examples = [{name: f"{name} {i} ü\n" for name in one.opened.fields} for i in range(5)] + [
                dict.fromkeys(one.opened.fields, ""),
                dict.fromkeys(one.opened.fields, "w " * 9000),
            ]
            results = []
            for i, value in enumerate(examples):
                answer = await ask(value)
                scores = await METRIC.score([Case(value, answer.output, "r", answer.raw, answer.failure)])
                results.append(Result(Example(str(i), value, "r"), answer, {METRIC.name: scores[0]}))
            async with Remote(url, one.id) as remote:
                parity = await check(results, remote, METRIC)
            assert parity.verdict == "identical", str(parity.changed)
        failures = [result.answer.failure for result in results if result.answer.failure]
        assert {failure.where for failure in failures} >= {"overflow"}


@pytest.mark.server
async def test_a_server_that_is_not_there_or_hides_its_output_is_no_match() -> None:
    original = await scored(intent(), 30)
    async with Remote("http://127.0.0.1:9/v1", "rung/x") as remote:
        parity = await check(original, remote, METRIC)
    assert parity.agreement == 0
    assert "no answer over HTTP" in parity.changed[0].after
    async with serving(endpoint(intent(), "intent", detail=False), bare(Fake(failures=[ServerError("x")] * 99))) as url:
        async with Remote(url, "rung/intent") as remote:
            assert "--no-details" in (await check(original, remote, METRIC)).changed[0].after
        async with Remote(url, "fake:echo") as remote:
            assert "HTTP 502" in (await check(original, remote, METRIC)).changed[0].after
    with pytest.raises(InputError):
        Remote("ftp://x", "rung/x")
