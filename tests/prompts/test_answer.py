from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import ServerError
from rung.core.text.reply import read_reply
from rung.core.types import Message, ResponseFormat, Sampling
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.answer import Asked, ask, listen

LABELS = ResponseFormat("labels", labels=("card_payment", "card_payment_fee", "refund"))
SCHEMA = ResponseFormat("json", schema={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


@pytest.mark.parametrize(
    ("form", "text", "output"),
    [
        (LABELS, " Refund. ", "refund"),
        (LABELS, "The label is card_payment_fee", "card_payment_fee"),
        (ResponseFormat("number"), "so 3 + 4 is $1,007.50", "1007.50"),
        (ResponseFormat("regex", pattern=r"[A-Z]\d"), "it is B7!", "B7"),
        (SCHEMA, 'Sure: {"n": 2} ok', {"n": 2}),
        (ResponseFormat(), "  free ", "free"),
    ],
)
def test_parse_reads_what_is_there(form: ResponseFormat, text: str, output: object) -> None:
    assert read_reply(form, text) == (output, "")


@pytest.mark.parametrize(
    ("form", "text", "complaint"),
    [
        (LABELS, "refund or card_payment", "expected one of card_payment, card_payment_fee"),
        (LABELS, "", "expected one of card_payment, card_payment_fee"),
        (ResponseFormat("number"), "seven", "expected a number"),
        (ResponseFormat("regex", pattern=r"\d{3}"), "12", "matching"),
        (SCHEMA, "{'n': 2}", "not valid JSON"),
        (SCHEMA, '{"n": "two"}', "breaks the schema at n"),
        (SCHEMA, "[" * 100_000, "nested too deeply"),
        (SCHEMA, '{"a":' * 100_000, "not valid JSON"),
        (ResponseFormat(), " ", "empty"),
    ],
)
def test_parse_says_why_it_cannot(form: ResponseFormat, text: str, complaint: str) -> None:
    output, said = read_reply(form, text)
    assert output is None
    assert complaint in said


@given(
    st.text(),
    st.sampled_from(
        [LABELS, SCHEMA, ResponseFormat("number"), ResponseFormat("regex", pattern="a+b"), ResponseFormat()]
    ),
)
def test_parse_never_raises(text: str, form: ResponseFormat) -> None:
    output, complaint = read_reply(form, text)
    assert (output is None) == bool(complaint)


async def test_labels_are_scored_where_the_model_can() -> None:
    asked = await ask(Fake(), (Message("user", "I want a refund"),), LABELS, Sampling())
    assert asked.output == "refund"
    assert asked.step.note == "labels scored"
    assert asked.confidence is not None
    assert 0 < asked.confidence <= 1


async def test_an_answer_that_cannot_be_read_is_a_failure() -> None:
    plain = replace(CAPABILITIES, score=False, forms=frozenset[str]())
    asked = await ask(Fake({"": "no idea"}, capabilities=plain), (Message("user", "?"),), LABELS, Sampling())
    assert asked.failure is not None
    assert asked.failure.where == "parse"
    assert asked.raw == "no idea"


async def test_a_model_error_is_a_failure() -> None:
    model = Fake(failures=[ServerError("it broke", status=500)])
    asked = await ask(model, (Message("user", "x"),), ResponseFormat(), Sampling())
    assert asked.failure is not None
    assert (asked.failure.where, "it broke" in asked.failure.message) == ("model", True)


async def test_a_stream_that_began_in_its_reasoning_is_no_answer_and_the_next_is_held_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rung.prompts.answer._inside", set())
    model = Fake({"": "perhaps so</think>It is so."})
    heard = [piece async for piece in listen(model, (Message("user", "x"),), Sampling())]
    assert isinstance(heard[-1], Asked)
    assert heard[-1].failure is not None
    assert heard[-1].failure.where == "parse"
    heard = [piece async for piece in listen(model, (Message("user", "x"),), Sampling())]
    assert isinstance(heard[-1], Asked)
    assert "".join(map(str, heard[:-1])) == heard[-1].output == "It is so."
