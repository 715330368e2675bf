from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError, ServerError
from rung.core.parts import program as programs
from rung.core.types import Request, ResponseFormat, Task
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.checking.refine import Refine, RefinedProgram, lost, refine
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt

FORMS = replace(CAPABILITIES, forms=CAPABILITIES.forms | {"regex"})
QUESTION = "When did Davy invent the lamp?"
BETTER = "In which year did Humphry Davy invent the safety lamp?"


@pytest.mark.parametrize(
    ("refined", "why"),
    [
        (BETTER, ""),
        ("When was the lamp invented?", "Davy"),
        ("Davy invented the lamp. When was it invented?", "one sentence"),
        ("Who is Davy and what are mines?", "words"),
    ],
)
def test_a_rewriting_must_keep_what_was_asked(refined: str, why: str) -> None:
    assert why in lost(QUESTION, refined)
    assert bool(why) == bool(lost(QUESTION, refined))


def test_a_number_must_stay() -> None:
    assert "1815" in lost("What happened in 1815 in mines?", "What happened in mines?")


async def test_the_refined_question_is_stored_beside_the_original_and_asked() -> None:
    def rule(request: Request) -> str:
        if request.messages[0].content.startswith("Rewrite"):
            assert request.form.kind == "regex"
            return BETTER
        return f"answer to {request.messages[-1].content}"

    model = Fake(rule, capabilities=FORMS)
    inner = PromptProgram(Prompt("Answer."), model, Options(fields=("passage", "question")))
    program = RefinedProgram(inner, model, ("passage", "question"))
    answer = await program({"passage": "p", "question": QUESTION})
    assert BETTER in answer.output
    assert "passage: p" in answer.output
    assert [step.name for step in answer.steps] == ["refine", "answer"]
    assert answer.steps[0].reply == BETTER
    assert QUESTION in answer.steps[0].messages[-1].content
    assert answer.usage.calls == 2


async def test_a_bad_rewriting_and_a_failing_model_leave_the_question() -> None:
    found = await refine(Fake(lambda _: "Why is the sky blue?"), QUESTION, rounds=3)
    assert found.question == QUESTION
    assert "Davy" in found.why
    assert len(found.steps) == 1
    down = Fake(failures=[ServerError("down")])
    found = await refine(down, QUESTION)
    assert (found.question, found.why) == (QUESTION, "down")


async def test_each_round_starts_from_the_last_wording() -> None:
    model = Fake(lambda request: request.messages[-1].content.removeprefix("Question: ").replace("the", "the first", 1))
    found = await refine(model, QUESTION, rounds=2)
    assert found.question == "When did Davy invent the first first lamp?"
    with pytest.raises(InputError, match="at least 1"):
        await refine(model, QUESTION, rounds=0)


async def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    program = RefinedProgram(PromptProgram(Prompt("Say."), pool.model(), Options()), pool.model(), ("text",))
    programs.save(program, tmp_path / "p")
    loaded = programs.load(tmp_path / "p", pool)
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    assert (await loaded("a b?")).output == (await program("a b?")).output
    with pytest.raises(InputError, match="no field"):
        RefinedProgram(program, pool.model(), ("text",), field="question")


def test_labels_have_no_question() -> None:
    task = Task("t", "Say.", ResponseFormat("labels", labels=("a", "b")), ("text",), (), (), (), ("accuracy",), "h")
    pool = Pool(default="fake:echo")
    assert "labelled" in Refine().obstacle(task, pool)
    assert Refine().obstacle(replace(task, form=ResponseFormat()), pool) == ""
    assert "persona" in Refine(inner="persona").obstacle(replace(task, form=ResponseFormat()), pool)
