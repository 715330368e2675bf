from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.protocols import Context, Program
from rung.core.types import Case, Example, Request, ResponseFormat, Result, Task
from rung.metrics import load_metric
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.search.ablate import Ablation, ablate, present, whole_prompt


def desk() -> Task:
    rows = tuple(Example(str(i), {"text": f"message {i}"}, ("yes", "no")[i % 2]) for i in range(40))
    return Task(
        name="t", instruction="Sort it.", form=ResponseFormat("labels", labels=("yes", "no")), fields=("text",), train=rows[:10],
        dev=rows[10:], test=rows[:2], metrics=("accuracy",), hash="h", constraints=("Even is yes.",), persona="a clerk",
    )  # fmt: skip


def needs_the_rule(request: Request) -> str:
    """Right only where the constraint is in the prompt."""
    even = int(request.messages[-1].content.split()[-1]) % 2 == 0
    return "yes" if even or "Even is yes." not in request.messages[0].content else "no"


async def measure(folder: Path, parts: Sequence[str] = ()) -> Ablation:
    from dataclasses import replace

    pool = Pool(default="fake:echo")
    pool.add(Fake(needs_the_rule, capabilities=replace(CAPABILITIES, score=False)), "fake:echo")
    metric = load_metric("accuracy", pool)

    async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
        out = []
        for item in examples:
            answer = await program(item.input)
            (score,) = await metric.score([Case(item.input, answer.output, item.reference, answer.raw, answer.failure)])
            out.append(Result(item, answer, {"accuracy": score}))
        return out

    task = desk()
    return await ablate(task, whole_prompt(task, shots=2), Context(pool, folder, evaluate), task.dev, parts)


async def test_the_part_that_matters_is_found(tmp_path: Path) -> None:
    found = await measure(tmp_path)
    assert found.value == 1.0
    assert [removal.part for removal in found.removals] == [
        "persona",
        "instruction",
        "examples",
        "constraints",
        "format",
    ]
    worth = {removal.part: removal.difference for removal in found.removals}
    assert worth["constraints"].value == pytest.approx(0.5)
    assert worth["constraints"].low > 0
    assert worth["constraints"].p < 0.01
    assert all(difference.value == 0 for part, difference in worth.items() if part != "constraints")
    assert all(removal.tokens > 0 for removal in found.removals)


async def test_only_the_parts_asked_for(tmp_path: Path) -> None:
    assert [removal.part for removal in (await measure(tmp_path, ["format"])).removals] == ["format"]
    with pytest.raises(InputError, match="no audience to leave out"):
        await measure(tmp_path, ["audience"])


def test_the_whole_prompt_has_every_part_of_the_task() -> None:
    assert present(whole_prompt(desk())) == ("persona", "instruction", "examples", "constraints", "format")
    assert len(whole_prompt(desk(), shots=3).examples) == 3
    assert present(whole_prompt(desk(), shots=0)) == ("persona", "instruction", "constraints", "format")
