from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Request, ResponseFormat, Task
from rung.models import Pool
from rung.models.providers.fake import Fake
from rung.prompts.patterns.checking.verify import (
    VerifiedProgram,
    Verify,
    count_flags,
    detect,
    plant,
    sentences,
    verify,
)
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt

SOURCE = (
    "The safety lamp was invented in 1815 by Humphry Davy. Dr. Clanny built another lamp in Sunderland. "
    "Miners in Newcastle were glad of it! It is kept in a museum."
)


def test_sentences_are_spans_of_the_text() -> None:
    spans = sentences(SOURCE)
    assert [span.text[:12] for span in spans] == ["The safety l", "Dr. Clanny b", "Miners in Ne", "It is kept i"]
    assert all(SOURCE[span.start : span.end] == span.text for span in spans)


@given(st.text(max_size=300))
def test_any_text_has_spans_that_exist(text: str) -> None:
    assert all(text[span.start : span.end] == span.text and span.text.strip() for span in sentences(text))


async def test_every_verdict_has_evidence_that_stands_in_the_source() -> None:
    def rule(request: Request) -> str:
        return "supported"

    found = await verify(Fake(rule), "Davy invented the safety lamp in 1815. Clanny built a lamp.", SOURCE)
    assert len(found.findings) == 2
    for finding in found.findings:
        assert finding.evidence is not None
        assert SOURCE[finding.evidence.start : finding.evidence.end] == finding.evidence.text
    assert {step.name for step in found.steps} == {"evidence", "verdict"}


async def test_rules_need_no_model() -> None:
    model = Fake()
    found = await verify(model, "The lamp was invented in 1915. Penguins waddle quickly.", SOURCE)
    assert [item.verdict for item in found.findings] == ["not stated", "not stated"]
    assert "1915" in found.findings[0].why
    assert found.findings[1].evidence is None
    assert not model.calls
    assert not found.holds


@pytest.mark.parametrize(("text", "source"), [("", SOURCE), ("A claim.", " \n")])
async def test_nothing_to_verify(text: str, source: str) -> None:
    with pytest.raises(InputError, match="no sentence"):
        await verify(Fake(), text, source)


def test_planted_claims_are_false_and_say_why() -> None:
    planted = plant(SOURCE)
    true = [item for item in planted if not item.change]
    false = [item for item in planted if item.change]
    assert [item.claim for item in true] == [span.text for span in sentences(SOURCE)]
    assert len(false) >= 3
    assert {item.change.split()[0] for item in false} == {"number", "name", "negated"}
    assert all(item.claim not in SOURCE for item in false)
    assert plant(SOURCE) == planted


async def test_precision_and_recall_of_planted_claims() -> None:
    found = await detect(Fake(), SOURCE, [item for item in plant(SOURCE) if "name" not in item.change])
    assert found.recall is not None
    assert found.recall.value == 1.0
    counts = count_flags([True, True, False, False], [True, False, True, False])
    assert counts.precision is not None
    assert counts.recall is not None
    assert (counts.precision.value, counts.recall.value) == (0.5, 0.5)
    assert count_flags([True], [False]).precision is None


async def test_an_answer_that_does_not_hold_is_asked_again() -> None:
    def rule(request: Request) -> str:
        last = request.messages[-1].content
        return (
            "The lamp was invented in 1815 by Davy."
            if "did not hold" in last
            else "The lamp was invented in 1999 by Davy."
        )

    model = Fake(rule)
    inner = PromptProgram(Prompt("Answer."), model, Options(fields=("passage", "question")))
    program = VerifiedProgram(inner, model, ("passage", "question"), source="passage")
    answer = await program({"passage": SOURCE, "question": "When was the lamp invented?"})
    assert "1815" in answer.output
    assert [step.name for step in answer.steps].count("answer") == 2
    assert answer.usage.calls == len(model.calls)
    assert answer.confidence is not None


async def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    inner = PromptProgram(Prompt("Say."), pool.model(), Options())
    program = VerifiedProgram(inner, pool.model(), ("text",), passages={"lamp": SOURCE})
    programs.save(program, tmp_path / "p")
    loaded = programs.load(tmp_path / "p", pool)
    assert programs.fingerprint(loaded) == programs.fingerprint(program)
    assert (await loaded("Who made the lamp?")).output == (await program("Who made the lamp?")).output
    with pytest.raises(InputError, match="no source"):
        VerifiedProgram(inner, pool.model(), ("text",))


def test_it_fits_free_text_with_a_source() -> None:
    task = Task("t", "Say.", ResponseFormat(), ("text",), (), (), (), ("exact",), "h")
    pool = Pool(default="fake:echo")
    assert "no source" in Verify().obstacle(task, pool)
    assert "no claims" in Verify().obstacle(replace(task, form=ResponseFormat("number")), pool)
    assert Verify().obstacle(replace(task, passages={"a": "b"}), pool) == ""
