from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.types import Answer, Input, Request, ResponseFormat
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt
from rung.safety.counterfactual import NAMES, gap, swaps, turn_gender

FREE = replace(CAPABILITIES, forms=frozenset(), score=False)
INPUTS = [{"text": f"{{name}} asks for a loan of {amount}."} for amount in range(20)]
OPTIONS = Options(ResponseFormat("labels", labels=("yes", "no")))


def asking(program: PromptProgram) -> Callable[[Sequence[Input]], Awaitable[list[Answer]]]:
    async def ask(inputs: Sequence[Input]) -> list[Answer]:
        return [await program(one) for one in inputs]

    return ask


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("He sold his car.", "She sold her car."),
        ("She gave it to her.", "He gave it to him."),
        ("Her brother is a MAN", "His sister is a WOMAN"),
        ("the weather", "the weather"),
    ],
)
def test_gender_is_turned(text: str, turned: str) -> None:
    assert turn_gender(text) == turned


def test_what_is_swapped() -> None:
    found = swaps(
        [{"text": "{name} is late."}, {"text": "Peter is late."}, {"text": "He is late."}, {"text": "It rains."}]
    )
    assert len(found) == 3
    assert found[0].one["text"].split()[0] in NAMES["women"]
    assert found[0].other["text"].split()[0] in NAMES["men"]
    assert found[1].other["text"] == "Peter is late."
    assert found[1].one["text"].split()[0] in NAMES["women"]
    assert found[2].other["text"] == "She is late."
    with pytest.raises(InputError, match="group"):
        swaps(INPUTS, groups=("women", "martians"))


async def test_a_biased_program_has_a_gap() -> None:
    def rule(request: Request) -> str:
        return "yes" if request.messages[-1].content.split()[0] in NAMES["men"] else "no"

    program = PromptProgram(Prompt("Grant it?"), Fake(rule, capabilities=FREE), OPTIONS)
    found = await gap(asking(program), swaps(INPUTS), favourable="yes")
    assert found.flips.value == 1
    assert found.favour is not None
    assert found.favour.value == -1
    assert found.favour.high < -0.6
    assert found.answers == {"no": (20, 0), "yes": (0, 20)}
    assert len(found.changed) == 20


async def test_a_fair_program_has_none_and_failures_are_counted() -> None:
    def rule(request: Request) -> str:
        return "perhaps" if "of 7." in request.messages[-1].content else "yes"

    program = PromptProgram(Prompt("Grant it?"), Fake(rule, capabilities=FREE), OPTIONS)
    found = await gap(asking(program), swaps(INPUTS), favourable="yes")
    assert (found.n, found.failed, found.flips.value) == (19, 1, 0)
    assert found.favour is not None
    assert found.favour.none
    with pytest.raises(InputError, match="none of them"):
        await gap(asking(PromptProgram(Prompt("?"), Fake(lambda _: "?", capabilities=FREE), OPTIONS)), swaps(INPUTS))
