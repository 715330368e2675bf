from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Request, ResponseFormat
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.asking.outline import Outline, OutlineProgram, OutputTemplate
from rung.prompts.template.prompt import Prompt

FORMS = replace(CAPABILITIES, forms=CAPABILITIES.forms | {"regex"})
REVIEW = Outline.parse("[Introduction], [Summary]\n[Conclusion]", width=40)
TEXT = "[Introduction]\nA book.\n\n[Summary]\nA whale, a man (1851).\n\n[Conclusion]\nRead it."


def test_a_template_is_read() -> None:
    assert REVIEW.sections == ("Introduction", "Summary", "Conclusion")


@pytest.mark.parametrize("text", ["", "Introduction", "[A] then [B]", "[]", "[A][a]", "[ ]"])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Outline.parse(text)


def test_a_text_is_read_into_its_sections() -> None:
    assert re.fullmatch(REVIEW.form.pattern, TEXT)
    assert REVIEW.read(TEXT) == (
        {"Introduction": "A book.", "Summary": "A whale, a man (1851).", "Conclusion": "Read it."},
        "",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TEXT.replace("[Summary]\n", ""), "no section 'Summary'"),
        (TEXT.replace("A whale, a man (1851).", ""), "'Summary' is empty"),
        ("Sure! Here it is:\n" + TEXT, "before the first section"),
        (TEXT + "\n\n[Notes]\nmore", "the sections are"),
    ],
)
def test_what_breaks_the_template_is_named(text: str, why: str) -> None:
    assert why in REVIEW.read(text)[1]
    assert not re.fullmatch(REVIEW.form.pattern, text)


@given(
    st.lists(
        st.from_regex(r"[A-Za-z0-9\u00c0-\u1fff\u2c00-\uffff][^\[\]\n]{0,39}", fullmatch=True), min_size=3, max_size=3
    )
)
def test_everything_the_form_allows_validates(bodies: list[str]) -> None:
    text = "\n\n".join(f"[{name}]\n{body}" for name, body in zip(REVIEW.sections, bodies, strict=True))
    assert re.fullmatch(REVIEW.form.pattern, text)
    sections, complaint = REVIEW.read(text)
    assert complaint == ""
    assert list(sections.values()) == [body.strip() for body in bodies]


def test_a_section_begins_with_a_word() -> None:
    text = "\n\n".join(f"[{name}]\n..." for name in REVIEW.sections)
    assert not re.fullmatch(REVIEW.form.pattern, text)
    assert "..." not in REVIEW.instruct()  # a small model copies it


def test_the_last_section_has_the_tasks_form() -> None:
    outline = Outline(("Why", "Answer"), last=ResponseFormat("labels", labels=("a+b", "c.d")))
    assert re.fullmatch(outline.form.pattern, "[Why]\nso\n\n[Answer]\na+b")
    assert not re.fullmatch(outline.form.pattern, "[Why]\nso\n\n[Answer]\naab")
    with pytest.raises(InputError, match="form json"):
        Outline(("A",), last=ResponseFormat("json"))


async def test_the_picked_section_is_the_output() -> None:
    def rule(request: Request) -> str:
        assert request.form.kind == "regex"
        return "[Why]\n3 and 4\n\n[Answer]\n7"

    outline = Outline(("Why", "Answer"), last=ResponseFormat("number"))
    program = OutlineProgram(outline, Fake(rule, capabilities=FORMS), prompt=Prompt("Add."), pick="Answer")
    answer = await program("3 + 4")
    assert answer.output == "7"
    assert answer.raw.startswith("[Why]")
    with pytest.raises(InputError, match="no section"):
        OutlineProgram(outline, Fake(), pick="Notes")


async def test_a_free_reply_that_breaks_the_template_is_a_failure() -> None:
    answer = await OutlineProgram(REVIEW, Fake(lambda _: "A fine book."))("Moby-Dick")
    assert answer.failure is not None
    assert answer.failure.where == "parse"
    assert (await OutlineProgram(REVIEW, Fake(lambda _: TEXT))("Moby-Dick")).output["Conclusion"] == "Read it."


async def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    outline = Outline(("Why", "Answer"), last=ResponseFormat("labels", labels=("x", "y")))
    program = OutlineProgram(outline, pool.model(), prompt=Prompt("Say."), pick="Answer")
    programs.save(program, tmp_path / "p")
    loaded = programs.load(tmp_path / "p", pool)
    assert isinstance(loaded, OutlineProgram)
    assert loaded.messages("q") == program.messages("q")
    assert programs.fingerprint(loaded) == programs.fingerprint(program)


def test_it_does_not_fit_json() -> None:
    from rung.core.types import Task

    task = Task("t", "Say.", ResponseFormat("json"), ("text",), (), (), (), ("exact",), "h")
    pool = Pool(default="fake:echo")
    assert "inside a section" in OutputTemplate().obstacle(task, pool)
    assert OutputTemplate().obstacle(replace(task, form=ResponseFormat("number")), pool) == ""
