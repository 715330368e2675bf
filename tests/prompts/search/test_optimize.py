from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rung.core.codec import digest
from rung.core.errors import InputError, ModelError
from rung.core.parts.program import fingerprint
from rung.core.protocols import Context, Program
from rung.core.types import Answer, Case, Example, Failure, Request, ResponseFormat, Result, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.program import PromptProgram
from rung.prompts.search.optimize.cost import stages, step_calls
from rung.prompts.search.optimize.log import Log
from rung.prompts.search.optimize.optimized import Optimized
from rung.prompts.search.optimize.search import REFLECTIONS, START, STEPS
from rung.store import open_store

TRAIN = tuple(Example(f"t{i}", {"text": f"train question {i} of many"}, str(i % 3)) for i in range(60))
DEV = tuple(Example(f"d{i}", {"text": f"ask {i}"}, "1") for i in range(24))
TASK = Task(
    "t", "Say.", ResponseFormat("number"), ("text",), TRAIN, DEV, (), ("number",), "h", constraints=("Be right.",)
)


class PowerCutError(Exception):
    pass


FREE = replace(CAPABILITIES, forms=frozenset())


def fitting(model: Fake, folder: Path, *others: Fake, seen: list[Example] | None = None) -> Context:
    """A context with a journal in memory: the same program and example are answered once."""
    pool = Pool(default=model.name)
    for one in (model, *others):
        pool.add(one)
    metric = load_metric("number", pool)
    journal: dict[tuple[str, str], Answer] = {}

    async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
        if seen is not None:
            seen.extend(examples)
        keys = [(fingerprint(program), digest([example.input, example.reference])) for example in examples]
        for key, example in zip(keys, examples, strict=True):
            if key not in journal:
                journal[key] = await program(example.input)
        answers = [journal[key] for key in keys]
        cases = [Case(e.input, a.output, e.reference, a.raw, a.failure) for e, a in zip(examples, answers, strict=True)]
        scores = await metric.score(cases)
        return [Result(e, a, {"number": s}) for e, a, s in zip(examples, answers, scores, strict=True)]

    folder.mkdir(exist_ok=True)
    return Context(pool, folder, evaluate)


def rule(request: Request) -> str:
    """Demonstrations help, and so does a rule: a third of dev is right without either, all of it with both."""
    if request.messages[0].content.startswith("You improve"):
        return "Give the number that is asked for, and nothing else at all."
    shots = any(message.role == "assistant" for message in request.messages)
    ruled = "Be right." in request.messages[0].content
    last = request.messages[-1].content.split()[-1]
    return "1" if last.isdigit() and int(last) % 3 <= shots + ruled else "0"


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / STEPS).read_text().splitlines()]


async def search(rung: Optimized, folder: Path, answer: Any = rule, task: Task = TASK) -> tuple[PromptProgram, Fake]:
    model = Fake(answer, capabilities=FREE)
    return await rung.fit(task, fitting(model, folder)), model


async def test_what_helps_is_found_kept_and_logged(tmp_path: Path) -> None:
    program, model = await search(Optimized(calls=600, dev=24), tmp_path)
    *steps, end = log(tmp_path)
    assert end["start"] == pytest.approx(1 / 3)
    assert end["best"] == 1.0
    assert program.selector is not None or program.prompt.examples  # type: ignore[union-attr]
    kept = [step for step in steps if step["kept"] is not None]
    assert len(kept) >= 2
    assert all(step["test"]["difference"] > 0 and step["test"]["p"] <= 0.2 for step in kept)
    values = [step["best"] for step in steps]
    assert values == sorted(values)
    assert end["calls"] == len(model.calls) <= 600
    for step in steps:
        assert all(one["source"] and one["note"] and one["fate"] for one in step["candidates"])
        (path,) = tmp_path.glob(f"step-{step['step']:02d}-*.diff")
        assert path.read_text() == step["diff"]
        assert path.name.endswith("-not-kept.diff") == (step["kept"] is None)
    assert any("+  - Be right." in step["diff"] for step in kept)
    assert any(line.startswith("+demonstrations:") for step in kept for line in step["diff"].splitlines())


@pytest.mark.parametrize("calls", [69, 75, 100, 160, 333])
async def test_the_budget_is_hard(calls: int, tmp_path: Path) -> None:
    _, model = await search(Optimized(calls=calls, dev=24), tmp_path)
    *steps, end = log(tmp_path)
    assert end["calls"] == len(model.calls) <= calls
    assert steps


async def test_a_judge_s_calls_count_too(tmp_path: Path) -> None:
    task = replace(TASK, form=ResponseFormat(), metrics=("judge:Is it right?",))

    def judging(request: Request) -> str:
        return "4" if "Is it right?" in request.messages[-1].content else rule(request)

    model = Fake(judging, capabilities=replace(FREE, score=False))
    pool = Pool(default=model.name)
    pool.add(model)
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        evaluator = Evaluator(store, "", [load_metric(task.metrics[0], pool)])
        rung = Optimized(calls=200, dev=24)
        assert f"one step needs {48 + step_calls(2, 24, 2)} " in Optimized(calls=120, dev=24).obstacle(task, pool)
        await rung.fit(task, Context(pool, tmp_path, evaluator.fitting))
    assert log(tmp_path)[-1]["calls"] == len(model.calls) <= 200


async def test_a_budget_that_buys_no_step_says_how_many_calls_one_needs(tmp_path: Path) -> None:
    rung = Optimized(calls=68, dev=24)
    model = Fake(rule, capabilities=FREE)
    assert "one step needs" in rung.obstacle(TASK, Pool())
    with pytest.raises(InputError, match=rf"one step needs {24 + step_calls(2, 24, 1)} ") as error:
        await rung.fit(TASK, fitting(model, tmp_path))
    assert not model.calls
    assert str(24 + step_calls(8, 24, 1)) in error.value.remedy
    reasoning = Optimized(calls=100, dev=24, start="chain-of-thought")  # two calls an answer
    with pytest.raises(InputError, match=f"one step needs {48 + step_calls(2, 24, 2)} "):
        await reasoning.fit(TASK, fitting(model, tmp_path))
    assert not model.calls


async def test_nothing_is_kept_when_nothing_helps(tmp_path: Path) -> None:
    program, _ = await search(Optimized(calls=400, dev=24), tmp_path, lambda _: "0")
    assert not any(step["kept"] for step in log(tmp_path)[:-1])
    assert program.selector is None
    assert program.prompt.instruction == "Say."  # type: ignore[union-attr]


async def test_a_perfect_prompt_is_left_alone(tmp_path: Path) -> None:
    _, model = await search(Optimized(calls=400, dev=24), tmp_path, lambda _: "1")
    assert len(model.calls) == 24
    assert log(tmp_path)[-1]["end"] == "every dev example is right"


async def test_a_larger_budget_begins_with_what_a_smaller_one_found(tmp_path: Path) -> None:
    await search(Optimized(calls=100, dev=24), tmp_path / "small")
    await search(Optimized(calls=500, dev=24), tmp_path / "large")
    small, large = (log(tmp_path / name)[:-1] for name in ("small", "large"))
    whole = [step for step in small if len(step["candidates"]) == 8]
    assert whole
    assert large[: len(whole)] == whole
    assert len(large) > len(whole)


async def test_a_search_that_was_cut_off_ends_as_it_would_have(tmp_path: Path) -> None:
    rung = Optimized(calls=400, dev=24, sources=("nearest", "wording", "reflection", "constraints"))
    await search(rung, tmp_path / "whole")
    budget = 150

    def dying(request: Request) -> str:
        nonlocal budget
        budget -= 1
        if not budget:
            raise PowerCutError
        return rule(request)

    model = Fake(dying, capabilities=FREE)
    context = fitting(model, tmp_path / "cut")
    with pytest.raises(PowerCutError):
        await rung.fit(TASK, context)
    with (tmp_path / "cut" / STEPS).open("a") as stream:
        stream.write('{"step": 2, "torn')
    await rung.fit(TASK, context)
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    assert len(model.calls) == log(tmp_path / "whole")[-1]["calls"] + 1  # only the one that died was asked twice


async def test_rewriting_sees_mistakes_on_train_and_is_asked_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def reflect(request: Request) -> str:
        asked.append(request.messages[-1].content)
        return f'**New instruction:** "Answer with 1, variant {len(asked)}."'

    reflector = Fake(reflect, name="clever", capabilities=FREE)

    def answer(request: Request) -> str:
        return "1" if "variant" in request.messages[0].content or "ask 1" in request.messages[-1].content else "7"

    model = Fake(answer, capabilities=FREE)
    rung = Optimized(calls=200, dev=24, sources=("reflection",), reflector="fake:clever", width=2)
    seen: list[Example] = []
    program = await rung.fit(TASK, fitting(model, tmp_path, reflector, seen=seen))
    assert program.prompt.instruction == "Answer with 1, variant 1."  # type: ignore[union-attr]
    assert "train question" in asked[0]
    assert "Right answer" in asked[0]
    assert not any(example.input["text"] in text for text in asked for example in DEV)
    stored = (tmp_path / REFLECTIONS).read_text().splitlines()
    assert len(stored) == len(asked) == len(reflector.calls)
    assert log(tmp_path)[-1]["calls"] == len(model.calls) + len(reflector.calls)
    assert all(not step["notes"] or "the reflector wrote" in step["notes"][0] for step in log(tmp_path)[:-1])
    held_out = {example.id for example in seen} - {example.id for example in DEV}
    assert held_out
    assert len(held_out) <= len(TRAIN) // 4


async def test_a_held_out_example_is_not_among_its_own_demonstrations(tmp_path: Path) -> None:
    model, seen = Fake(rule, capabilities=FREE), []  # type: tuple[Fake, list[Example]]
    rung = Optimized(calls=300, dev=24, start="few-shot-knn", sources=("reflection", "wording"))
    await rung.fit(TASK, fitting(model, tmp_path, seen=seen))
    held_out = [example for example in seen if example.id.startswith("t")]
    assert held_out
    for call in model.calls:
        asked = call.messages[-1].content
        assert asked not in [message.content for message in call.messages[:-1]]


async def test_training_examples_that_are_test_examples_are_never_asked(tmp_path: Path) -> None:
    test = tuple(replace(example, id=f"x{example.id}") for example in TRAIN[:40])
    model, seen = Fake(rule, capabilities=FREE), []  # type: tuple[Fake, list[Example]]
    await Optimized(calls=300, dev=24).fit(replace(TASK, test=test), fitting(model, tmp_path, seen=seen))
    assert any(example.id.startswith("t") for example in seen)
    assert not {example.input["text"] for example in seen} & {example.input["text"] for example in test}


async def test_a_model_that_is_away_ends_the_search_and_costs_no_edit(tmp_path: Path) -> None:
    count = 0

    def failing(request: Request) -> str:
        nonlocal count
        count += 1
        if count > 60:
            raise ModelError("it is away", remedy="wait")
        return rule(request)

    model = Fake(failing, capabilities=FREE)
    with pytest.raises(ModelError, match="it is away"):
        await Optimized(calls=300, dev=24).fit(TASK, fitting(model, tmp_path))
    assert not (tmp_path / STEPS).exists()


async def test_it_begins_with_the_prompt_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("---\nname: mine\nvariables: {text: string}\n---\nGive the number, please.\n")
    rung = Optimized(calls=300, dev=24, prompt=str(tmp_path / "mine.md"))
    _, model = await search(rung, tmp_path / "work")
    assert "Give the number, please." in (tmp_path / "work" / START / "program.json").read_text()
    assert "Give the number, please." in model.calls[0].messages[0].content
    assert log(tmp_path / "work")[-1]["best"] == 1.0
    before = rung.hash
    (tmp_path / "mine.md").write_text("---\nname: mine\nvariables: {text: string}\n---\nOther words.\n")
    assert Optimized(calls=300, dev=24, prompt=str(tmp_path / "mine.md")).hash != before
    knn, _ = await search(Optimized(calls=400, dev=24, start="few-shot-knn"), tmp_path / "knn")
    assert knn.selector is not None


def test_it_says_why_it_does_not_fit() -> None:
    assert "too few" in Optimized().obstacle(replace(TASK, dev=DEV[:7]), Pool())
    assert "persona" in Optimized(start="persona").obstacle(TASK, Pool())
    assert Optimized().obstacle(TASK, Pool()) == ""
    with pytest.raises(ValueError, match="no source magic"):
        Optimized(sources=("magic",))
    for start in ("optimized", "nowhere"):
        with pytest.raises(ValueError, match="name of a rung"):
            Optimized(start=start)


async def test_a_rung_without_a_prompt_cannot_be_optimized(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prompt that could be edited"):
        await search(
            Optimized(calls=400, dev=24, start="linear"),
            tmp_path,
            task=replace(TASK, form=ResponseFormat("labels", ("0", "1", "2"))),
        )


@pytest.mark.parametrize("width", range(2, 20))
@pytest.mark.parametrize("dev", [8, 24, 48, 100])
def test_halving_ends_with_one_edit_on_all_of_dev(width: int, dev: int) -> None:
    plan = stages(width, dev)
    assert plan[0][0] == width
    assert plan[-1] == (1, dev)
    assert all(a >= b and m <= n for (a, m), (b, n) in pairwise(plan))
    full = width * dev
    assert step_calls(width, dev, 1) < full + 10
    if width >= 8 and dev >= 24:
        assert step_calls(width, dev, 1) < 0.5 * full


def test_the_log_writes_a_line_once(tmp_path: Path) -> None:
    first = Log(tmp_path / "log")
    first.add({"a": 1})
    first.add({"a": 2})
    again = Log(tmp_path / "log")
    again.add({"a": 1})
    assert (tmp_path / "log").read_text() == '{"a":1}\n{"a":2}\n'
    again.add({"a": 3})
    assert (tmp_path / "log").read_text() == '{"a":1}\n{"a":3}\n'


def test_failures_are_scored_not_raised(tmp_path: Path) -> None:
    """A reply that cannot be parsed is a wrong answer, not the end of the search."""

    def mumble(request: Request) -> str:
        return "1" if any(message.role == "assistant" for message in request.messages) else "hm"

    program, _ = asyncio.run(search(Optimized(calls=300, dev=24), tmp_path, mumble))
    assert program.selector is not None
    assert Failure("parse", "").where == "parse"
