from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.parts.program import fingerprint
from rung.core.types import Answer, Example, ResponseFormat, Result, Score, Task
from rung.models.providers.fake import Fake
from rung.prompts.program import Options, PromptProgram
from rung.prompts.search.propose.proposal import Material, parts_of, template_of, written
from rung.prompts.search.propose.reflection import REFLECTION, reflection, rewritten
from rung.prompts.search.propose.sources import SOURCES, propose
from rung.prompts.search.propose.wording import telling, typical
from rung.prompts.select import Selector
from rung.prompts.template.files import read_file, write
from rung.prompts.template.prompt import Prompt
from rung.prompts.template.render import STYLES
from rung.prompts.template.template import Template

TEXTS = {"parcel": "where is my parcel with the {}", "refund": "please refund the money for the {}"}
POOL = tuple(
    Example(f"{label}{i}", {"text": text.format(thing)}, label)
    for label, text in TEXTS.items()
    for i, thing in enumerate(("tent", "lamp", "stove", "rope", "boot", "sock", "hat", "cup"))
)
TASK = Task(
    "t",
    "Say the intent.",
    ResponseFormat("labels", labels=tuple(TEXTS)),
    ("text",),
    POOL,
    POOL,
    (),
    ("accuracy",),
    "h",
    constraints=("One label.",),
    persona="a clerk",
)
MODEL = Fake()


def answered(example: Example, right: bool) -> Result:
    output = example.reference if right else "refund" if example.reference == "parcel" else "parcel"
    return Result(example, Answer(output, output), {"accuracy": Score(float(right))})


FEEDBACK = [answered(example, i % 2 == 0) for i, example in enumerate(POOL[4:12])]
FIXED = PromptProgram(Prompt.whole(TASK), MODEL, Options.of(TASK), Selector.fixed(POOL[:4]))
PLAIN = PromptProgram(Prompt.of(TASK), MODEL, Options.of(TASK))
NEAR = PromptProgram(Prompt.of(TASK), MODEL, Options.of(TASK), Selector("knn", 4, POOL))
MATERIAL = Material(TASK, POOL, "accuracy", feedback=FEEDBACK, rivals=(NEAR,))


@pytest.mark.parametrize("name", [name for name in SOURCES if name != REFLECTION])
def test_a_source_makes_new_prompts_and_says_what_is_new(name: str) -> None:
    found = [one for parent in (FIXED, PLAIN, NEAR) for one in propose(name, parent, MATERIAL)]
    assert found
    for one in found:
        assert one.source
        assert one.note
        assert one.program.messages("where is my tent")
        assert one.program.model is MODEL
    for parent in (FIXED, PLAIN, NEAR):
        made = list(propose(name, parent, MATERIAL))
        changed = [one for one in made if fingerprint(one.program) != fingerprint(parent)]
        assert len(changed) == len(made) or name in ("bootstrap", "merge", "swap")
        again = [fingerprint(one.program) for one in propose(name, parent, MATERIAL)]
        assert again == [fingerprint(one.program) for one in made]  # the same, so that a search can be resumed


def test_demonstrations_come_from_the_pool_or_from_held_out_train() -> None:
    for name in ("nearest", "coverage", "balanced", "bootstrap", "swap"):
        for one in propose(name, FIXED, MATERIAL):
            assert one.program.selector is not None
            assert all(shot in POOL for shot in one.program.selector("where is my tent"))
    right = next(propose("bootstrap", PLAIN, replace(MATERIAL)))
    assert right.program.selector is not None
    assert all(shot in [result.example for result in FEEDBACK[::2]] for shot in right.program.selector(""))


def test_labels_are_explained_from_train() -> None:
    words = telling(POOL, TASK.form.labels)
    assert "parcel" in words["parcel"]
    assert "refund" in words["refund"]
    assert "tent" not in words["parcel"]
    examples = typical(POOL, TASK.form.labels)
    assert all(any(repr(one.input["text"]) in examples[one.reference] for one in POOL) for _ in POOL[:1])
    assert "where is my parcel" in examples["parcel"]


def test_the_reflector_is_shown_what_went_wrong() -> None:
    request = reflection(PLAIN, MATERIAL, 0)
    assert request is not None
    said = request.messages[-1].content
    assert "Say the intent." in said
    wrong = [result for result in FEEDBACK if result.scores["accuracy"].value < 1]
    assert sum(result.example.input["text"] in said for result in wrong) == 4
    assert not any(result.example.input["text"] in said for result in FEEDBACK if result not in wrong)
    assert request != reflection(PLAIN, MATERIAL, 1)
    assert reflection(PLAIN, replace(MATERIAL, feedback=FEEDBACK[::2]), 0) is None
    body = Template("t", Prompt("x"), body="user:\n{{ parts.system }} {{ text }}")
    assert reflection(PromptProgram(body, MODEL, Options.of(TASK)), MATERIAL, 0) is None


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Find the intent of the customer.", "Find the intent of the customer."),
        ('"Find the intent of the customer."', "Find the intent of the customer."),
        (
            "**Improved instruction:** Find the intent of the customer.\n\nThis is better since",
            "Find the intent of the customer.",
        ),
        ("Here is a better instruction: Name their intent.", "Name their intent."),
        ("```text\nFind the intent of the customer.\n```", "Find the intent of the customer."),
        ("", None),
        ("Yes.", None),
        ("Say the intent.", None),
        ("word " * 300, None),
        ("Say the intent of {{ text }} to the customer.", None),
        ("What is wrong? Provide a clear explanation of skills.", None),
        (f"The intent: if it is {FEEDBACK[1].example.input['text']}, say refund.", None),
    ],
)
def test_what_the_reflector_writes_is_cleaned_or_refused(reply: str, said: str | None) -> None:
    proposal, why = rewritten(PLAIN, MATERIAL, reply)
    if said is None:
        assert proposal is None
        assert why.startswith("the reflector")
    else:
        assert proposal is not None
        assert not why
        assert parts_of(proposal.program).instruction == said


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shots", [None, Selector.fixed(POOL[:3])])
def test_the_template_of_a_program_sends_what_the_program_sends(
    style: str, shots: Selector | None, tmp_path: Path
) -> None:
    prompt = replace(
        Prompt.whole(TASK), context="a {{ b }} c {% d", constraints=("{# no #}", "One."), audience="a child"
    )
    program = PromptProgram(prompt.styled(style), MODEL, Options.of(TASK), shots)
    file = tmp_path / "prompt.md"
    file.write_text(write(template_of(program, "t")))
    loaded = read_file(file).flat().check()
    assert loaded.render({"text": "where is {{ it }} </input>"}) == program.messages("where is {{ it }} </input>")


def test_a_template_of_ones_own_is_edited_part_by_part() -> None:
    template = Template("mine", Prompt("Say it."), variables=())
    template = replace(template, variables=template_of(PLAIN, "x").variables)
    program = PromptProgram(template, MODEL, Options.of(TASK))
    for name in ("wording", "constraints", "rendering", "notes"):
        changed = next(propose(name, program, MATERIAL)).program
        assert isinstance(changed.prompt, Template)
        assert changed.prompt.origin != template.origin
        assert changed.messages("hello") != program.messages("hello")
    turns = replace(template, body="system:\n{{ parts.system }}\n\nuser:\n{{ text }}")
    whole = PromptProgram(turns, MODEL, Options.of(TASK))
    assert not list(propose("wording", whole, MATERIAL))
    assert list(propose("nearest", whole, MATERIAL))


def test_a_prompt_is_written_for_people() -> None:
    text = written(FIXED)
    assert "instruction:\n  Say the intent." in text
    assert "  - One label." in text
    assert "  - where is my parcel with the tent → parcel" in text
    assert "demonstrations: knn, 4 of 16 for each input" in written(NEAR)
