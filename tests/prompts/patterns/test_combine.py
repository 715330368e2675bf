from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.program import fingerprint
from rung.core.protocols import Context, Program
from rung.core.types import Case, Example, Request, ResponseFormat, Result, Task
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.checking.refine import RefinedProgram
from rung.prompts.patterns.checking.verify import VerifiedProgram
from rung.prompts.patterns.combine import ALIASES, Combined, compose, factorial, read, unfit
from rung.prompts.program import PromptProgram
from rung.prompts.template.prompt import Prompt

TRAIN = tuple(Example(f"t{i}", {"text": f"{i} plus {i}"}, str(2 * i)) for i in range(12))
TEST = tuple(Example(f"q{i}", {"text": f"{i} plus 1"}, str(i + 1)) for i in range(24))
TASK = Task(
    "sums", "Add.", ResponseFormat("number"), ("text",), TRAIN, TEST, (), ("number",), "h",
    constraints=("Write digits.",), persona="a teacher",
)  # fmt: skip


@pytest.fixture
def pool() -> Pool:
    return Pool(default="fake:echo")


@pytest.mark.parametrize("order", list(permutations(["persona", "fewshot=3", "cot", "constraints"]))[::5])
def test_any_order_is_one_program(order: tuple[str, ...], pool: Pool) -> None:
    program = compose(TASK, "+".join(order), pool)
    assert isinstance(program, PromptProgram)
    assert isinstance(program.prompt, Prompt)
    assert program.prompt.persona == "a teacher"
    assert program.prompt.constraints == ("Write digits.",)
    assert program.selector is not None
    assert program.selector.k == 3
    assert program.options.reasoning is not None
    assert fingerprint(program) == fingerprint(compose(TASK, "constraints+chain-of-thought+few-shot=3+persona", pool))


def test_every_alias_is_a_part() -> None:
    for alias in ALIASES:
        assert read(alias)[0].name == ALIASES[alias]
    assert read("none") == read("") == ()
    assert [str(piece) for piece in read("few-shot=mmr 2+audience=a child, aged 9")] == [
        "audience=a child, aged 9",
        "few-shot=mmr 2",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("personna", "did you mean persona"),
        ("persona+persona", "named twice"),
        ("cot+votes", "both decide"),
        ("react+output-template", "both decide"),
        ("cot=4", "takes no value"),
        ("persona+", "no part ''"),
    ],
)
def test_what_cannot_be_combined(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read(text)


@pytest.mark.parametrize(
    ("parts", "change", "why"),
    [
        ("persona", {"persona": ""}, "no persona"),
        ("audience", {}, "needs a value"),
        ("few-shot", {"train": ()}, "no training examples"),
        ("votes", {"form": ResponseFormat()}, "no majority"),
        ("react+few-shot", {}, "no examples in the form"),
        ("refine", {"form": ResponseFormat("labels", labels=("a", "b"))}, "labelled"),
        ("verify", {}, "no claims"),
        ("output-template", {"form": ResponseFormat("json")}, "inside a section"),
    ],
)
def test_parts_that_do_not_fit_say_why(parts: str, change: dict[str, object], why: str, pool: Pool) -> None:
    task = replace(TASK, **change)  # type: ignore[arg-type]
    assert why in unfit(task, read(parts), pool)
    assert why in Combined((*parts.split("+"),)).obstacle(task, pool)
    with pytest.raises(InputError, match=why):
        compose(task, parts, pool)
    with pytest.raises(InputError, match="1 to 64"):
        compose(TASK, "few-shot=0", pool)


def test_chains_go_around_in_one_order(pool: Pool) -> None:
    task = replace(TASK, form=ResponseFormat(), passages={"a": "One and one is two."})
    program = compose(task, "verify+persona+refine", pool)
    assert isinstance(program, VerifiedProgram)
    assert isinstance(program.inner, RefinedProgram)
    assert isinstance(program.inner.inner, PromptProgram)
    with pytest.raises(ValueError, match="there is no part"):
        Combined(("nonsense",))


def context(model: Fake, tmp_path: Path) -> tuple[Context, list[Program]]:
    pool = Pool(default=model.name)
    pool.add(model)
    metric = load_metric("number", pool)
    asked: list[Program] = []

    async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
        asked.append(program)
        answers = [await program(example.input) for example in examples]
        cases = [Case(e.input, a.output, e.reference, a.raw, a.failure) for e, a in zip(examples, answers, strict=True)]
        scores = await metric.score(cases)
        return [Result(e, a, {"number": s}) for e, a, s in zip(examples, answers, scores, strict=True)]

    return Context(pool, tmp_path, evaluate), asked


async def test_a_factorial_run_finds_the_effects_that_are_there(tmp_path: Path) -> None:
    """The model is right on even items; a persona makes it right everywhere, constraints never matter."""

    def rule(request: Request) -> str:
        number = int(request.messages[-1].content.split()[0])
        right = number % 2 == 0 or "a teacher" in request.messages[0].content
        return str(number + 1 if right else -1)

    fitting, asked = context(Fake(rule, capabilities=replace(CAPABILITIES, forms=frozenset())), tmp_path)
    found = await factorial(TASK, ["constraints", "persona"], fitting, TEST)
    assert len(asked) == len({fingerprint(program) for program in asked}) == 4
    assert {cell.title: cell.quality.value for cell in found.cells} == {
        "none": 0.5, "constraints": 0.5, "persona": 1.0, "persona+constraints": 1.0,
    }  # fmt: skip
    effects = {effect.factors: effect.difference for effect in found.main}
    assert effects["persona",].value == pytest.approx(0.5)
    assert effects["persona",].low > 0.2
    assert effects["constraints",].value == 0
    assert effects["constraints",].low <= 0 <= effects["constraints",].high
    assert found.interactions[0].difference.value == 0
    assert found.n == 24


async def test_an_interaction_is_seen(tmp_path: Path) -> None:
    """Right only where both are there."""

    def rule(request: Request) -> str:
        text = request.messages[0].content
        return str(int(request.messages[-1].content.split()[0]) + 1) if "teacher" in text and "digits" in text else "-1"

    fitting, _ = context(Fake(rule, capabilities=replace(CAPABILITIES, forms=frozenset())), tmp_path)
    found = await factorial(TASK, ["persona", "constraints"], fitting, TEST)
    assert [effect.difference.value for effect in (*found.main, *found.interactions)] == [0.5, 0.5, 0.5]


async def test_bad_factors(tmp_path: Path) -> None:
    fitting, _ = context(Fake(), tmp_path)
    for factors, examples, why in (
        ([], TEST, "1 to 6"),
        (["persona"], (), "at least one example"),
        (["persona", "persona"], TEST, "named twice"),
        (["audience"], TEST, "needs a value"),
    ):
        with pytest.raises(InputError, match=why):
            await factorial(TASK, factors, fitting, examples)
    with pytest.raises(InputError, match="mean of items"):
        await factorial(replace(TASK, metrics=("macro-f1",)), ["persona"], fitting, TEST)
