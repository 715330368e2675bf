from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Request, ResponseFormat, Sampling
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.models.wrap import MeteredModel
from rung.prompts.patterns.lookup.react import React, ReactProgram, grammar, read_move, trace
from rung.prompts.program import Options
from rung.prompts.template.prompt import Prompt

PASSAGES = {
    "lamp": "The safety lamp was invented in 1815 by Humphry Davy.",
    "otter": "The sea otter eats sea urchins on the coast of the Pacific.",
    "rope": "A rope is twisted from strands of hemp.",
}
FORMS = replace(CAPABILITIES, forms=CAPABILITIES.forms | {"regex"})


def test_a_step_has_one_form() -> None:
    form = grammar(("search", "finish"))
    text = "Thought: I look it up.\nAction: search[safety lamp]"
    assert re.fullmatch(form.pattern, text)
    move = read_move(text)
    assert move is not None
    assert (move.thought, move.tool, move.argument) == ("I look it up.", "search", "safety lamp")
    assert not re.fullmatch(form.pattern, "Thought: no\nAction: calculate[1]")
    assert read_move("Action: search[x]") is None


async def test_it_searches_then_answers_from_what_it_saw() -> None:
    def rule(request: Request) -> str:
        last = request.messages[-1].content
        assert request.form.kind == "regex"  # every step is held to the form
        if "Observation" not in last:
            return "Thought: I look it up.\nAction: search[who invented the safety lamp]"
        return f"Thought: I read it.\nAction: finish[{'Davy' if 'Humphry Davy' in last else '?'}]"

    program = ReactProgram(Fake(rule, capabilities=FORMS), passages=PASSAGES)
    answer = await program("Who invented the lamp?")
    assert answer.output == "Davy"
    assert trace(answer).parsed == trace(answer).steps == 2
    assert "Humphry Davy" in answer.steps[0].note
    assert answer.usage.calls == 2


async def test_the_calculators_result_is_observed_and_its_errors_too() -> None:
    def rule(request: Request) -> str:
        last = request.messages[-1].content
        if last == "Observation: 84":
            return "Thought: done\nAction: finish[84]"
        if last.startswith("Observation: cannot calculate"):
            return "Thought: again\nAction: calculate[12 * 7]"
        return "Thought: multiply\nAction: calculate[twelve times 7]"

    options = Options(ResponseFormat("number"))
    answer = await ReactProgram(Fake(rule, capabilities=FORMS), options=options)("What is 12 times 7?")
    assert answer.output == "84"
    assert trace(answer).tools == {"calculate": 2, "finish": 1}


async def test_going_in_circles_ends_in_the_best_answer() -> None:
    def rule(request: Request) -> str:
        if request.form.kind == "number" or "final answer" in request.messages[-1].content:
            return "7"
        return "Thought: hm\nAction: calculate[3 + 4]"

    program = ReactProgram(Fake(rule, capabilities=FORMS), options=Options(ResponseFormat("number")), limit=9)
    answer = await program("3 + 4?")
    assert answer.output == "7"
    assert trace(answer).steps == 3
    assert "You did that already" in answer.steps[1].note


async def test_free_text_is_got_by_a_last_step_that_can_only_finish() -> None:
    def rule(request: Request) -> str:
        if "search" not in request.form.pattern and "calculate" not in request.form.pattern:
            return "Thought: enough\nAction: finish[Davy]"
        return f"Thought: more\nAction: calculate[1 + {len(request.messages)}]"

    answer = await ReactProgram(Fake(rule, capabilities=FORMS), limit=2)("Who?")
    assert answer.output == "Davy"
    assert answer.steps[-1].name == "answer"
    said = await ReactProgram(Fake(lambda _: "It was Davy."), limit=1)("Who?")
    assert said.output == "It was Davy."


async def test_the_step_limit_ends_in_an_answer_of_the_tasks_form() -> None:
    count = 0

    def rule(request: Request) -> str:
        nonlocal count
        count += 1
        return f"Thought: hm\nAction: calculate[1 + {count}]"

    options = Options(ResponseFormat("labels", labels=("yes", "no")))
    answer = await ReactProgram(Fake(rule, capabilities=FORMS), options=options, limit=3)("is it so? yes")
    assert count == 3
    assert answer.output in ("yes", "no")
    assert answer.steps[-1].note == "labels scored"


async def test_a_finish_that_is_not_of_the_form_is_asked_again() -> None:
    def rule(request: Request) -> str:
        if request.messages[-1].content.startswith("Now give only"):
            return "the answer is 12"
        return "Thought: I know\nAction: finish[a dozen]"

    answer = await ReactProgram(Fake(rule, capabilities=FORMS), options=Options(ResponseFormat("number")))("How many?")
    assert answer.output == "12"


async def test_a_model_that_cannot_be_constrained_is_told_what_a_step_is() -> None:
    def rule(request: Request) -> str:
        last = request.messages[-1].content
        return "Thought: ok\nAction: finish[Paris]" if "That was no step" in last else "It is Paris."

    model = Fake(rule)
    answer = await ReactProgram(model)("Capital of France?")
    assert answer.output == "Paris"
    assert trace(answer) == trace(answer).__class__(2, 1, {"finish": 1})


def test_search_ranks_by_words_and_finds_nothing_for_nonsense() -> None:
    program = ReactProgram(Fake(), passages=PASSAGES)
    assert program.search("what does the sea otter eat", 1) == ["otter"]
    assert program.search("qqq zzz") == []


async def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    program = ReactProgram(pool.model(), passages=PASSAGES, prompt=Prompt("Answer."), limit=2)
    programs.save(program, tmp_path / "p")
    loaded = programs.load(tmp_path / "p", pool)
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    assert (await loaded("x")).output == (await program("x")).output


def test_bad_limit() -> None:
    with pytest.raises(InputError, match="at least 1"):
        ReactProgram(Fake(), limit=0)


@pytest.mark.model
@pytest.mark.slow
async def test_every_step_of_the_embedded_model_parses(embedded: MeteredModel) -> None:
    options = Options(sampling=Sampling(max_tokens=8, temperature=1.0))
    program = ReactProgram(embedded, passages=PASSAGES, options=options, limit=2)
    traces = [trace(await program(question)) for question in ("Who invented the lamp?", "What is 3 * 4?")]
    assert sum(item.steps for item in traces) >= 2
    assert all(item.parsed == item.steps for item in traces)


def test_it_fits_where_there_is_something_to_act_on() -> None:
    from rung.core.types import Task

    bare = Task("t", "Say.", ResponseFormat(), ("text",), (), (), (), ("exact",), "h")
    pool = Pool(default="fake:echo")
    assert "nothing to act on" in React().obstacle(bare, pool)
    assert React().obstacle(replace(bare, passages=PASSAGES), pool) == ""
    assert React().obstacle(replace(bare, form=ResponseFormat("number")), pool) == ""
