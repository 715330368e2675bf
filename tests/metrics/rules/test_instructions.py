"""Each kind of instruction with texts that follow it and texts that do not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.core.types import Case, Failure
from rung.foundations.text.sentences import count_sentences
from rung.metrics import load_metric
from rung.metrics.rules.instructions import (
    KINDS,
    CheckableInstruction,
    InstructionLevel,
    PromptLevel,
    count_capitals,
    parse_instruction,
    read_instructions,
    variants,
)
from tests.metrics.material import Shelf

# kind, options, texts that follow it, texts that do not
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("keywords:existence", {"keywords": ["mom", "rose bush"]}, ["My MOM has a Rose Bush."], ["mom", "rosebush mom"]),
    ("keywords:frequency", {"keyword": "war", "relation": "at least", "frequency": 2}, ["War and war", "warwar"], ["war"]),
    ("keywords:frequency", {"keyword": "war", "relation": "less than", "frequency": 2}, ["war", "peace"], ["war War"]),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ["Rocks and rocky"], ["I Rock.", "rock-solid"]),
    ("keywords:letter_frequency", {"letter": "q", "let_relation": "at least", "let_frequency": 2}, ["Quick queen"], ["quick"]),
    ("keywords:letter_frequency", {"letter": "#", "let_relation": "less than", "let_frequency": 1}, ["none"], ["# one"]),
    ("language:response_language", {"language": "de"}, ["Das ist ein langer Satz auf Deutsch, den jeder versteht."],
     ["This is a long sentence in English that everybody understands."]),
    ("language:response_language", {"language": "hi"}, ["यह हिन्दी में एक लंबा वाक्य है और सब इसे समझते हैं।"], ["Namaste, my friend."]),
    ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 3}, ["One. Two! Three?"], ["Mr. Fox ran. He won."]),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 3}, ["One. Two", "Dr. A. Smith, e.g. here. Yes."], ["A b. C d. E f."]),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, ["one two-three"], ["one two"]),
    ("length_constraints:number_words", {"relation": "less than", "num_words": 3}, ["one two"], ["one two three"]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["One.\n***\nTwo.", "***\nOne.\n***\nTwo.\n***"],
     ["One.\n\nTwo.", "One.\n***\n***\nTwo.", "a\n***\nb\n***\nc"]),
    ("length_constraints:nth_paragraph_first_word", {"first_word": "Weekend", "num_paragraphs": 2, "nth_paragraph": 2},
     ["One.\n\n\"weekend, at last", "One.\n\nWEEKEND"], ["Weekend\n\nOne", "One.\n\nWeekends", "One\n\nWeekend\n\nThree", "Weekend"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name], [home]"], ["[name]", "(a) (b)"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["Bye.\nP.S. more", "p. s. it"], ["Bye.", "PS more"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S more", "p.p.s. x"], ["P.S. more"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, ["* a\n* b", "- a\nand\n  * b"], ["* a", "* a\n* b\n- c", "** a\n** b"]),
    ("detectable_format:constrained_response", {}, ["Well. My answer is maybe."], ["My answer is perhaps.", "my answer is no."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* and *b*", "*a* **bold**"], ["*a*", "* * and *b*", "*a\nb*"]),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}, ["Section 1\na\nSection 2\nb"], ["Section 1\na", "section 1 section 2"]),
    ("detectable_format:json_format", {}, ['```json\n{"a": 1}\n```', "[1, 2]"], ["{a: 1}", 'Here: {"a": 1}']),
    ("detectable_format:title", {}, ["<<A title>>\nText"], ["<A title>", "<< >>", "<<a\nb>>"]),
    ("combination:two_responses", {}, ["One.\n******\nTwo."], ["One. ****** One.", "One.", "a ****** b ****** c", "One. ***** Two."]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say Hi."}, ["say hi. Hi!"], ["Sure: Say hi. Hi!"]),
    ("startend:end_checker", {"end_phrase": "That is all."}, ["Hello. That is all.", '"x THAT IS ALL."\n'], ["That is all. Bye"]),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, ["NASA and I", "AI-BASED NASA's"], ["NASA and Us"]),
    ("change_case:capital_word_frequency", {"capital_relation": "less than", "capital_frequency": 2}, ["NASA"], ["A B"]),
    ("change_case:english_capital", {}, ["THIS IS A SENTENCE IN ENGLISH, AND IT IS LOUD."], ["This is English.", "DIES IST EIN SATZ AUF DEUTSCH UND KEIN ANDERER."]),
    ("change_case:english_lowercase", {}, ["this is a sentence in english, and it is quiet."], ["This is English.", "dies ist ein satz auf deutsch und kein anderer."]),
    ("punctuation:no_comma", {}, ["No; none."], ["One, two."]),
    ("startend:quotation", {}, ['"All of it."\n'], ['"', '"All" of it.', "'All'"]),
]  # fmt: skip


def needs_languages(kind: str) -> None:
    if "english" in kind or "language" in kind:
        pytest.importorskip("py3langid", reason="telling languages needs the extra text")


def test_every_kind_is_tried() -> None:
    assert {kind for kind, *_ in CASES} == set(KINDS)
    assert len(KINDS) == 25


@pytest.mark.parametrize(
    ("kind", "options", "good", "bad"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_kind(kind: str, options: dict[str, Any], good: list[str], bad: list[str]) -> None:
    needs_languages(kind)
    instruction = CheckableInstruction(kind, options)
    assert [text for text in good if not instruction.holds(text)] == []
    assert [text for text in [*bad, "", "  \n"] if instruction.holds(text)] == []


def test_loose_forgives_a_frame_and_asterisks() -> None:
    quoted = CheckableInstruction("startend:quotation")
    framed = 'Here it is:\n"All of it."\nHope that helps!'
    assert not quoted.holds(framed)
    assert quoted.holds_loosely(framed)
    assert CheckableInstruction("startend:end_checker", {"end_phrase": "Bye."}).holds_loosely("So **Bye.**")
    assert not quoted.holds_loosely("Nothing of the kind.")
    assert len(variants("a\nb\nc")) == 8
    assert "b" in variants("a\nb\nc")


def test_counting() -> None:
    assert count_sentences('Dr. Smith of the U.S. Army left. He said "Stop!" loudly. Really?!') == 4
    assert count_sentences("no full stop") == 1
    assert count_sentences("... !!!") == 0
    assert count_sentences("It costs 3.50 now. Fine") == 2
    assert count_capitals("AI-BASED NASA, COVID-19 I'm A.I. ok") == 5


def test_reading() -> None:
    both = '{"instruction_id_list": ["punctuation:no_comma", "startend:end_checker"], "kwargs": [{"x": null}, {"end_phrase": "x"}]}'
    assert [str(one) for one in read_instructions(both)] == [
        "punctuation:no_comma",
        'startend:end_checker end_phrase="x"',
    ]
    assert read_instructions(
        ["punctuation:no_comma", {"kind": "detectable_format:number_bullet_lists", "num_bullets": 3}]
    )[1] == parse_instruction("number_bullet_lists num_bullets=3")
    assert parse_instruction('keywords:existence keywords=["a b", "c"]').options == {"keywords": ["a b", "c"]}
    assert parse_instruction('number_words relation="at least" num_words=5').options["relation"] == "at least"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no", "not JSON"),
        ("[]", "expected a list"),
        ('["punctuation:no_commas"]', "there is no instruction"),
        ('[{"kind": "detectable_format:number_bullet_lists"}]', "has no num_bullets"),
        ('[{"kind": "detectable_format:number_bullet_lists", "num_bullets": "3"}]', "expected int"),
        ('[{"kind": "punctuation:no_comma", "n": 1}]', "takes no n"),
        ('[{"kind": "length_constraints:number_words", "relation": "about", "num_words": 3}]', "'about'"),
        ('{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}, {}]}', "one length"),
        ("[7]", "expected an instruction"),
    ],
)
def test_mistakes_are_named(value: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_instructions(value)
    with pytest.raises(InputError):
        parse_instruction("no_comma please")
    with pytest.raises(InputError, match="strict or loose"):
        load_metric("ifeval:lenient", Shelf())


def cases() -> list[Case]:
    both = json.dumps(["punctuation:no_comma", "startend:quotation"])
    one = json.dumps(["punctuation:no_comma"])
    return [
        Case({}, '"All"', both),
        Case({}, "All", both),
        Case({}, "a, b", one),
        Case({}, None, one, failure=Failure("model", "gone")),
        Case({}, 'Here:\n"All"', both),
    ]


async def test_both_levels_from_the_same_parts() -> None:
    for way, right, whole in (("strict", 4, 1), ("loose", 5, 2)):
        level, prompt = InstructionLevel(way), PromptLevel(way)  # type: ignore[arg-type]
        scores, prompts = await level.score(cases()), await prompt.score(cases())
        assert [score.parts for score in scores] == [score.parts for score in prompts]
        assert level.reduce(scores)[0] == pytest.approx(right / 8)
        assert prompt.reduce(prompts)[0] == pytest.approx(whole / 5)
        # The items weigh by their number of instructions: resampled, the share is of sums.
        assert level.reduce(scores, np.array([[0, 0, 2]]))[0] == pytest.approx(4 / 5)
    assert "quotation" in (await InstructionLevel().score(cases()))[1].why


def test_signs_repeated_without_end_are_counted_in_one_pass() -> None:
    for unit in ("[", "[x", "<<", "\n", "\n \n", "Mr. ", ". A", "*"):
        text = unit * (300_000 // len(unit)) + " x"
        for kind, options in (
            ("detectable_content:number_placeholders", {"num_placeholders": 1}),
            ("detectable_format:number_bullet_lists", {"num_bullets": 1}),
            ("detectable_format:title", {}),
            ("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}),
        ):
            CheckableInstruction(kind, options).holds(text)


@pytest.mark.parametrize(
    ("kind", "options", "text", "held"),
    [
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b [c]", True),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b\nc]", False),
        ("detectable_format:title", {}, "so <<>> and <<a>> it is", True),
        ("detectable_format:title", {}, "<<<>>>", False),
        ("detectable_format:number_bullet_lists", {"num_bullets": 3}, "* a\n\n  - b\n**bold**\n\t* c", True),
    ],
)
def test_forms_are_found_where_they_stand(kind: str, options: dict[str, int], text: str, held: bool) -> None:
    assert CheckableInstruction(kind, options).holds(text) is held
