"""Whatever a compiled form allows follows the instructions that it is said to enforce."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.rung import make_rung
from rung.core.types import Example, Request, ResponseFormat, RungChoice, Task
from rung.metrics.rules.instructions import CheckableInstruction, parse_instruction
from rung.models import Pool
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.checking.checked.form import CompiledForm, compile_form
from rung.prompts.patterns.checking.checked.program import CheckedProgram
from rung.prompts.program import Options

GRAMMAR = replace(CAPABILITIES, forms=CAPABILITIES.forms | {"grammar"})
LETTERS = frozenset(b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?-\n"*[<')


def walk(pattern: str, seed: int) -> str:
    """A random text that the grammar allows, byte by byte; it ends with some chance wherever it may."""
    ll = pytest.importorskip("llguidance", reason="grammars are compiled by llguidance (the extra embedded)")
    tokens = ll.LLTokenizer("byte")
    matcher = ll.LLMatcher(tokens, ll.grammar_from("grammar", pattern), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    rng, out = random.Random(seed), bytearray()
    for _ in range(4000):
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        assert not matcher.is_error(), (matcher.get_error(), out)
        allowed = set(np.flatnonzero(bits).tolist())
        if tokens.eos_token in allowed and (len(allowed) == 1 or rng.random() < 0.05):
            return out.decode()
        some = sorted(allowed & LETTERS) or sorted(byte for byte in allowed if byte < 128)
        out.append(rng.choice(some))
        assert matcher.consume_token(out[-1])
    raise AssertionError(f"the text does not end: {out[-200:]!r}")


def instructions(*texts: str) -> tuple[CheckableInstruction, ...]:
    return tuple(parse_instruction(text) for text in texts)


SETS = [
    ("no_comma", "end_checker end_phrase=\"That is all!\""),
    ("quotation", 'forbidden_words forbidden_words=["ab","c d"]', 'postscript postscript_marker="P.S."'),
    ("number_bullet_lists num_bullets=4", "no_comma"),
    ("title", "multiple_sections section_spliter=SECTION num_sections=3", "quotation"),
    ("two_responses", "no_comma"),
    ("number_paragraphs num_paragraphs=3", 'postscript postscript_marker="P.P.S"'),
    ("nth_paragraph_first_word first_word=weekend num_paragraphs=3 nth_paragraph=2",),
    ("number_placeholders num_placeholders=5", "title"),
    ("number_highlighted_sections num_highlights=3", "letter_frequency letter=e let_relation=\"less than\" let_frequency=3"),
    ("json_format", "forbidden_words forbidden_words=[\"bad\"]", "no_comma"),
    ("constrained_response", "quotation"),
    ('repeat_prompt prompt_to_repeat="Write (once) a/b: it."', "no_comma"),
    ('number_words relation="less than" num_words=12',),
    ('number_words relation="at least" num_words=40', "no_comma"),
    ('number_sentences relation="less than" num_sentences=4',),
    ('number_sentences relation="at least" num_sentences=5', "no_comma"),
    ('capital_word_frequency capital_relation="at least" capital_frequency=4',),
    ('frequency keyword=war relation="less than" frequency=2', "letter_frequency letter=q let_relation=\"less than\" let_frequency=1"),
    ("number_bullet_lists num_bullets=2", 'end_checker end_phrase="Good bye, all."'),
]  # fmt: skip


def test_a_brief_is_kept_whole() -> None:
    """Keywords get sentences of their own where they are asked for, within the bounds on words; else they are left."""
    rules = instructions(
        'existence keywords=["tide","Old Mill"]', 'forbidden_words forbidden_words=["ab","easy"]',
        'number_words relation="at least" num_words=12', 'number_words relation="less than" num_words=30',
    )  # fmt: skip
    assert [one.name for one in compile_form(rules, 160).left] == ["existence", "number_words"]
    compiled = compile_form(rules, 160, keywords=True)
    assert compiled.left == ()
    for seed in range(4):
        text = walk(compiled.form.pattern, seed)
        assert [str(one) for one in rules if not one.holds(text)] == [], text
    none = compile_form(instructions("no_comma", 'existence keywords=["a, b"]'), 160, keywords=True)
    assert [one.name for one in none.left] == ["existence"]


@pytest.mark.parametrize("rules", SETS, ids=lambda rules: "+".join(rule.split()[0] for rule in rules))
def test_what_the_form_allows_follows_what_it_enforces(rules: Sequence[str]) -> None:
    compiled = compile_form(instructions(*rules), 224)
    assert compiled.form.kind == "grammar"
    assert [str(one) for one in compiled.left] == []
    for seed in range(3):
        text = walk(compiled.form.pattern, seed)
        assert [str(one) for one in compiled.kept if not one.holds(text)] == [], text


@pytest.mark.parametrize("kind", ["english_lowercase", "english_capital"])
def test_one_case(kind: str) -> None:
    compiled = compile_form(instructions(kind, "title", 'end_checker end_phrase="Bye Now."'), 200)
    text = walk(compiled.form.pattern, 1)
    assert text.islower() if kind == "english_lowercase" else text.isupper()
    assert all(one.holds(text) for one in compiled.kept if one.name != kind)


def names(some: Sequence[CheckableInstruction]) -> list[str]:
    return [one.name for one in some]


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (["existence keywords=[\"a\"]", "no_comma"], ["existence"]),
        (["number_bullet_lists num_bullets=3", "two_responses"], ["two_responses"]),
        # a phrase with a comma cannot end a text without one
        (["no_comma", 'end_checker end_phrase="Well, bye."'], ["end_checker"]),
        (['forbidden_words forbidden_words=["bye"]', 'end_checker end_phrase="Well, bye."'], ["end_checker"]),
        # no room for so much
        (["number_placeholders num_placeholders=900"], ["number_placeholders"]),
        (['number_words relation="at least" num_words=900'], ["number_words"]),
        (["english_lowercase", "english_capital"], ["english_capital"]),
        (["english_lowercase", "multiple_sections section_spliter=SECTION num_sections=2"], ["multiple_sections"]),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_left(rules: list[str], left: list[str]) -> None:
    compiled = compile_form(instructions(*rules), 200)
    assert names(compiled.left) == left
    assert len(compiled.kept) + len(compiled.left) == len(rules)
    if compiled.kept:
        text = walk(compiled.form.pattern, 0)
        assert all(one.holds(text) for one in compiled.kept if not one.name.startswith("english"))


def test_nothing_to_enforce_is_free_text() -> None:
    some = instructions('existence keywords=["a"]')
    assert compile_form(some, 200) == CompiledForm(ResponseFormat(), (), some)


async def test_the_field_is_compiled_and_not_shown() -> None:
    seen: list[Request] = []

    def rule(request: Request) -> str:
        seen.append(request)
        return "Yes. Done."

    options = Options(fields=("request", "instructions"))
    value = {"request": "Write.", "instructions": json.dumps(["punctuation:no_comma"])}
    program = CheckedProgram(Fake(rule, capabilities=GRAMMAR), options=options, field="instructions")
    answer = await program(value)
    assert answer.output == "Yes. Done."
    assert "[^,]" in seen[0].form.pattern
    assert "no_comma" not in seen[0].messages[-1].content
    free = CheckedProgram(Fake(rule, capabilities=GRAMMAR), options=options, field="instructions", grammar=False)
    assert (await free(value)).output == "Yes. Done."
    assert seen[1].form == ResponseFormat()
    assert seen[1].messages == seen[0].messages
    with pytest.raises(InputError, match="not JSON"):
        await program({"request": "Write.", "instructions": "no commas please"})


async def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    pool = Pool(default="fake:echo")
    rules = instructions("no_comma", "number_bullet_lists num_bullets=2")
    program = CheckedProgram(pool.model(), rules=rules)
    programs.save(program, tmp_path / "p")
    again = programs.load(tmp_path / "p", pool)
    assert isinstance(again, CheckedProgram)
    assert again.rules == rules
    assert programs.fingerprint(again) == programs.fingerprint(program)
    assert again.compiled("x") == program.compiled("x")


def task(fields: tuple[str, ...], form: ResponseFormat) -> Task:
    train = (Example("1", dict.fromkeys(fields, "x"), "y"),)
    return Task("t", "Do it.", form, fields, train, (), (), ("exact",), "h")


@pytest.mark.parametrize(
    ("fields", "form", "options", "why"),
    [
        (("text", "instructions"), ResponseFormat(), {}, ""),
        (("text",), ResponseFormat(), {"rules": ["no_comma"]}, ""),
        (("text",), ResponseFormat(), {}, "no field 'instructions'"),
        (("instructions",), ResponseFormat(), {}, "nothing but"),
        (("text", "instructions"), ResponseFormat("number"), {}, "a form of its own"),
    ],
)
def test_obstacle(fields: tuple[str, ...], form: ResponseFormat, options: dict[str, Any], why: str) -> None:
    said = make_rung(RungChoice("checked", options)).obstacle(task(fields, form), Pool())
    assert (why in said) if why else said == ""
