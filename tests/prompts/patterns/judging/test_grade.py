from __future__ import annotations

import random
from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.types import Case, Request, Score
from rung.metrics.rules.judge import prefer, read_rubric
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.judging.grade import PADDING, bias, grade, kappa, verbosity_bias

GENERATED = replace(CAPABILITIES, score=False, forms=CAPABILITIES.forms | {"regex"})


def test_kappa_equals_the_reference_implementation() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = random.Random(0)
    mine = [rng.randint(1, 5) for _ in range(60)]
    theirs = [min(5, max(1, grade + rng.choice((-1, 0, 0, 1)))) for grade in mine]
    for weights in ("quadratic", "linear"):
        found = kappa(mine, theirs, weights=weights)
        assert found.value == pytest.approx(cohen_kappa_score(mine, theirs, weights=weights))
        assert found.low < found.value < found.high


def test_kappa_at_its_ends() -> None:
    assert kappa([1, 2, 3, 4], [1, 2, 3, 4]).value == 1
    assert kappa([1, 5, 1, 5], [5, 1, 5, 1]).value == -1
    assert kappa([3, 3, 3], [3, 3, 3]).value == 1
    assert kappa([3, 3, 3], [1, 3, 5]).value == 0
    with pytest.raises(InputError, match="two or more"):
        kappa([1], [1])


async def test_each_criterion_has_a_grade_and_feedback() -> None:
    def rule(request: Request) -> str:
        text = request.messages[-1].content
        if "Reply with the digit" in text:
            return "4" if "clarity:" in text else "2"
        assert request.form.kind == "regex"
        return "It would be better with an example."

    found = await grade(
        Fake(rule, capabilities=GENERATED), "clarity: Is it clear?; depth: Is it deep?", "Write.", "Essay."
    )
    assert found.grade == 3
    assert [(item.criterion, item.grade) for item in found.remarks] == [("clarity", 4.0), ("depth", 2.0)]
    assert all("better" in item.feedback for item in found.remarks)


async def test_a_judge_that_cannot_grade_is_a_failure() -> None:
    found = await grade(Fake(lambda _: "great!", capabilities=GENERATED), "depth: Is it deep?", "Write.", "Essay.")
    assert found.grade is None
    assert "failed" in found.failure
    with pytest.raises(InputError, match="no work"):
        await grade(Fake(), "depth: Is it deep?", "Write.", " ")


async def verdicts(model: Fake, ones: list[str], others: list[str]) -> list[Score]:
    cases = [Case({"text": "q"}, one, None) for one in ones]
    return await prefer(model, read_rubric("helpfulness"), cases, others)


async def test_a_judge_that_takes_the_first_is_seen() -> None:
    found = bias(await verdicts(Fake(lambda _: "A", capabilities=GENERATED), ["x"] * 8, ["y"] * 8))
    assert (found.stable.value, found.first.value, found.right) == (0, 1, None)


async def test_a_judge_that_knows_is_stable_and_right() -> None:
    def rule(request: Request) -> str:
        text = request.messages[-1].content
        return "A" if text.index("good") < text.index("bad") else "B"

    scores = await verdicts(Fake(rule, capabilities=GENERATED), ["good", "bad"] * 2, ["bad", "good"] * 2)
    found = bias(scores, [1, 2] * 2)
    assert found.right is not None
    assert (found.stable.value, found.first.value, found.right.value) == (1, 0.5, 1)
    with pytest.raises(InputError, match="every pair"):
        bias(await verdicts(Fake(lambda _: "?", capabilities=GENERATED), ["x"], ["y"]))


async def test_a_judge_that_likes_length_is_seen() -> None:
    def rule(request: Request) -> str:
        return "5" if PADDING in request.messages[-1].content else "3"

    found = await verbosity_bias(Fake(rule, capabilities=GENERATED), "depth: Is it deep?", ["q"] * 10, ["a"] * 10)
    assert found.value == pytest.approx(0.5)
    assert not found.none
    fair = await verbosity_bias(Fake(lambda _: "3", capabilities=GENERATED), "depth: Is it?", ["q"] * 10, ["a"] * 10)
    assert fair.value == 0
    assert fair.none
