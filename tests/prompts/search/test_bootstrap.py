from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.protocols import Context, Program
from rung.core.types import Case, Example, Request, ResponseFormat, Result, Task
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.program import PromptProgram
from rung.prompts.search.bootstrap import LOG, Bootstrap

TRAIN = tuple(Example(f"t{i}", {"text": f"{'good' if i % 4 == 0 else 'plain'} {i}"}, str(i)) for i in range(24))
DEV = tuple(Example(f"d{i}", {"text": f"ask {i}"}, "1") for i in range(40))
TASK = Task("t", "Say.", ResponseFormat("number"), ("text",), TRAIN, DEV, (), ("number",), "h")


def fitting(model: Fake, folder: Path) -> Context:
    pool = Pool(default=model.name)
    pool.add(model)
    metric = load_metric("number", pool)

    async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
        answers = [await program(example.input) for example in examples]
        cases = [Case(e.input, a.output, e.reference, a.raw, a.failure) for e, a in zip(examples, answers, strict=True)]
        scores = await metric.score(cases)
        return [Result(e, a, {"number": s}) for e, a, s in zip(examples, answers, scores, strict=True)]

    return Context(pool, folder, evaluate)


def rule(request: Request) -> str:
    """The more good shots are shown, the more questions are answered rightly, if the question is one of those."""
    good = sum("good" in message.content for message in request.messages)
    return "1" if int(request.messages[-1].content.split()[1]) % 5 <= good else "0"


def shots(program: PromptProgram) -> list[Example]:
    assert program.selector is not None
    return list(program.selector("x"))


async def test_swaps_that_win_are_kept_and_the_log_says_which(tmp_path: Path) -> None:
    model = Fake(rule, capabilities=replace(CAPABILITIES, forms=frozenset()))
    program = await Bootstrap(k=3, trials=30).fit(TASK, fitting(model, tmp_path))
    log = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert sum("good" in example.input["text"] for example in shots(program)) >= 2
    kept = [line for line in log if line.get("kept")]
    assert kept
    assert all(line["difference"] > 0 and line["p"] <= 0.15 for line in kept)
    assert all(len(line["in"]) == len(line["out"]) == 1 for line in log[:-1])
    assert log[-1]["confirmed"] is True


async def test_a_gain_that_does_not_hold_on_unseen_examples_is_reverted(tmp_path: Path) -> None:
    def lucky(request: Request) -> str:
        good = sum("good" in message.content for message in request.messages)
        index = int(request.messages[-1].content.split()[1])
        return "1" if (index % 5 <= good) == (index < 20) else "0"  # good shots hurt the second half

    model = Fake(lucky, capabilities=replace(CAPABILITIES, forms=frozenset()))
    context = fitting(model, tmp_path)
    program = await Bootstrap(k=3, trials=30).fit(TASK, context)
    log = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert log[-1]["confirmed"] is False
    first = await Bootstrap(k=3, trials=1, alpha=0.0001).fit(TASK, context)
    assert shots(program) == shots(first)


async def test_nothing_that_matters_is_kept_when_shots_do_nothing(tmp_path: Path) -> None:
    model = Fake(lambda _: "0", capabilities=replace(CAPABILITIES, forms=frozenset()))
    await Bootstrap(k=3, trials=5).fit(TASK, fitting(model, tmp_path))
    assert not any(json.loads(line)["kept"] for line in (tmp_path / LOG).read_text().splitlines())
    assert len(model.calls) <= 6 * 20


def test_it_says_why_it_does_not_fit() -> None:
    pool = Pool(default="fake:echo")
    assert "nothing to swap" in Bootstrap(k=24).obstacle(TASK, pool)
    assert "too few" in Bootstrap().obstacle(replace(TASK, dev=DEV[:3]), pool)
    assert Bootstrap().obstacle(TASK, pool) == ""
    with pytest.raises(ValueError, match="at least 1"):
        Bootstrap(trials=0)
