"""The patterns that answer: each is fitted by its rung, answers, and is the same program after it was saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as folders
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Program
from rung.core.types import Answer, Example, Request, ResponseFormat, RungChoice, Task
from rung.models.providers.fake import CAPABILITIES, Fake

WRITES = replace(CAPABILITIES, score=False, forms=CAPABILITIES.forms | {"regex", "grammar"})
PASSAGES = {
    "nile": "The Nile is a river of 6650 kilometres in Africa. It reaches the sea near Rosetta.",
    "rhine": "The Rhine is a river of 1230 kilometres in Europe. It passes Basel.",
    "volga": "The Volga is a river of 3530 kilometres in Russia. It passes Kazan.",
    "danube": "The Danube is a river of 2850 kilometres in Europe. It passes Vienna.",
}


class Only:
    """Resources with one model."""

    def __init__(self, model: Fake) -> None:
        self._model = model

    def model(self, name: str | None = None) -> Fake:
        return self._model

    def embedder(self, name: str | None = None) -> Any:
        raise AssertionError(name)


def task(fields: tuple[str, ...] = ("text",), form: str = "text", **more: Any) -> Task:
    train = tuple(Example(str(n), dict.fromkeys(fields, f"turn {n}"), "go left") for n in range(2))
    return Task("t", "Do it.", ResponseFormat(form), fields, train, train, (), ("exact",), "h", **more)  # type: ignore[arg-type]


async def answered(choice: RungChoice, this: Task, rule: Any, input: Any, tmp_path: Path) -> tuple[Answer, Program]:
    only = Only(Fake(rule, capabilities=WRITES))
    rung = make_rung(choice)
    assert rung.obstacle(this, only) == ""

    async def never(program: Program, examples: Any) -> Any:
        raise AssertionError("nothing is chosen on dev")

    program = await rung.fit(this, Context(only, tmp_path, never))
    folders.save(program, tmp_path / "program")
    loaded = folders.load(tmp_path / "program", only)
    assert folders.fingerprint(loaded) == folders.fingerprint(program)
    answer = await program(input)
    assert (await loaded(input)).output == answer.output
    return answer, program


async def test_flipped_interaction_asks_for_the_fields_then_answers(tmp_path: Path) -> None:
    def rule(request: Request) -> str:
        text = request.messages[-1].content
        name = next((one for one in ("city", "people") if f"know the {one}" in text), "")
        return f"What is the {name} of it?" if name else f"booked {text.count(':')}"

    this = task(("city", "people"))
    given = {"city": "Oslo", "people": "three"}
    answer, program = await answered(RungChoice("flipped-interaction"), this, rule, given, tmp_path)
    assert (answer.output, [step.name for step in answer.steps]) == ("booked 3", ["ask for people", "answer"])
    asked = await program({"city": "Oslo", "people": " "})
    assert asked.output == "What is the people of it?"
    assert "one field" in make_rung(RungChoice("flipped-interaction")).obstacle(task(), Only(Fake()))


async def test_peer_grading_writes_again_what_got_a_low_grade(tmp_path: Path) -> None:
    def rule(request: Request) -> str:
        text = request.messages[-1].content
        if "Reply with the digit" in text:
            return "5" if "better one" in text else "2"
        if "Say in one sentence why" in text:
            return "It is far too short to be of use."
        return "a better one" if "far too short" in text else "a first one"

    answer, _ = await answered(
        RungChoice("peer-grading", {"rubric": "good: Is it good?"}), task(), rule, "say", tmp_path
    )
    assert (answer.output, answer.confidence) == ("a better one", 1.0)
    answer, _ = await answered(
        RungChoice("peer-grading"), task(), lambda r: "?" if "digit" in r.messages[-1].content else "x", "say", tmp_path
    )
    assert (answer.output, answer.confidence) == ("x", None)


@pytest.mark.parametrize("input", ["nile", "The Ob is a river of 3650 kilometres in Siberia."])
async def test_a_quiz_question_has_its_key_in_the_text(input: str, tmp_path: Path) -> None:
    this = task(form="json", passages=PASSAGES)
    answer, program = await answered(RungChoice("quiz"), this, lambda _: "no question", input, tmp_path)
    assert answer.output["answer"] in PASSAGES.get(input, input)
    assert answer.output["answer"] in answer.output["options"]
    none = await program("Nothing here.")
    assert none.failure is not None
    assert none.failure.where == "program"


async def test_a_meta_language_is_spoken_and_understood(tmp_path: Path) -> None:
    bnf = '<o> ::= "go " <w>\n<w> ::= "left" | "right"'
    answer, _ = await answered(
        RungChoice("meta-language", {"bnf": bnf}), task(), lambda _: "go right", "turn", tmp_path
    )
    assert answer.output == "go right"
    assert [message.content for message in answer.steps[0].messages[1:3]] == ["turn 0", "go left"]
    (tmp_path / "robot.bnf").write_text(bnf)
    this = task(path=str(tmp_path / "task.yaml"))
    options = {"bnf": "robot.bnf", "actions": {"o": "drive {1}"}}
    answer, _ = await answered(RungChoice("meta-language", options), this, lambda _: "go left", "turn", tmp_path)
    assert answer.output == "drive left"
    lost, _ = await answered(RungChoice("meta-language", {"bnf": bnf}), task(), lambda _: "fly", "turn", tmp_path)
    assert lost.failure is not None
    assert lost.failure.where == "parse"
    with pytest.raises(InputError, match="cannot read the BNF"):
        await answered(RungChoice("meta-language", {"bnf": "none.bnf"}), this, lambda _: "go left", "turn", tmp_path)


async def test_a_recipe_and_the_best_of_several(tmp_path: Path) -> None:
    ways = [
        "1. Boil the water\n2. Add the tea\n3. Wait a while",
        "1. Buy a kettle\n2. Ask somebody else\n3. Drink what comes",
    ]

    def rule(request: Request) -> str:
        text = request.messages[-1].content
        if "keep the rule" in text:
            return "yes" if "kettle" in text else "no"
        return ways[1] if "These ways are known" in text else ways[0]

    answer, _ = await answered(RungChoice("recipe"), task(), rule, "make tea", tmp_path)
    assert (answer.output, answer.confidence) == (ways[0], None)
    choice = RungChoice("alternatives", {"ways": 2, "rules": ["no fire"]})
    answer, _ = await answered(choice, task(), rule, "make tea", tmp_path)
    assert (answer.output, answer.confidence) == (ways[1], 1.0)


def test_what_a_stranger_s_folder_holds_is_a_clear_error(tmp_path: Path) -> None:
    from rung.prompts.patterns.dialogue.recipe import RecipeProgram

    only = Only(Fake())
    folder = folders.save(RecipeProgram(only.model()), tmp_path / "program")
    whole = json.loads((folder / "program.json").read_text())
    for spec in (
        {},
        {**whole["spec"], "ways": "many"},
        {**whole["spec"], "rules": {"a": 1}},
        {**whole["spec"], "options": [1]},
    ):
        (folder / "program.json").write_text(json.dumps({**whole, "spec": spec}))
        with pytest.raises(InputError) as raised:
            folders.load(folder, only)
        assert raised.value.code == "damaged"
    (folder / "program.json").write_text("[" * 100_000)
    with pytest.raises(InputError):
        folders.load(folder, only)
