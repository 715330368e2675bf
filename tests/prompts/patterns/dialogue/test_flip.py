from __future__ import annotations

import pytest

from rung.core.errors import InputError, ServerError
from rung.core.types import Request, ResponseFormat
from rung.models.providers.fake import Fake
from rung.prompts.patterns.dialogue.flip import Script, Slot, find, interview

SLOTS = (Slot("city", "where it is sent"), Slot.parse("size: small|large"), Slot.parse("people: number"))
FACTS = {"city": "Oslo", "size": "large", "people": "4 people"}


def rule(request: Request) -> str:
    text = request.messages[-1].content
    for slot in SLOTS:
        if f"know the {slot.name}" in text:
            return f"Which {slot.name} do you want?"
    return f"order: {text}"


async def test_it_asks_until_all_slots_are_filled_then_answers() -> None:
    model = Fake(rule)
    found = await interview(model, "Write an order for a tent.", SLOTS, Script(FACTS))
    assert found.filled == {"city": "Oslo", "size": "large", "people": "4"}
    assert (found.turns, found.rate, found.missing) == (3, 1.0, ())
    assert "city: Oslo" in found.answer.output
    assert [step.name for step in found.answer.steps] == ["ask for city", "ask for size", "ask for people", "answer"]
    assert found.answer.usage.calls == len(model.calls) == 4


async def test_what_was_said_already_is_not_asked() -> None:
    found = await interview(Fake(rule), "Order.", SLOTS, Script(FACTS), opening="I want a large tent. city: Bergen")
    assert found.filled["city"] == "Bergen"
    assert found.turns == 1


async def test_a_user_who_does_not_know_ends_at_the_limit() -> None:
    found = await interview(Fake(rule), "Order.", SLOTS, Script({"size": "huge or large"}), turns=4)
    assert found.filled == {"size": "large"}
    assert found.turns == 4
    assert found.missing == ("city", "people")
    assert found.rate == pytest.approx(1 / 3)
    assert "people: unknown" in found.answer.output


async def test_a_chatty_user_is_asked_less() -> None:
    found = await interview(Fake(rule), "Order.", SLOTS, Script({"people": "4", "city": "Oslo"}, chatty=True), turns=9)
    assert found.filled["people"] == "4"
    assert found.filled["city"].startswith("Oslo")


async def test_an_empty_answer_ends_the_dialogue() -> None:
    async def silent(question: str) -> str:
        return ""

    found = await interview(Fake(rule), "Order.", SLOTS, silent)
    assert found.turns == 1
    assert found.missing == ("city", "size", "people")


async def test_a_question_that_names_nothing_is_replaced() -> None:
    asked: list[str] = []

    async def user(question: str) -> str:
        asked.append(question)
        return "large"

    found = await interview(Fake(lambda _: "How are you?"), "Order.", SLOTS[1:2], user)
    assert asked == ["What is the size? It must be one of: small, large."]
    assert found.filled == {"size": "large"}


async def test_a_model_that_fails_still_gets_the_slots_and_says_so() -> None:
    model = Fake(failures=[ServerError("down")] * 9)
    found = await interview(model, "Order.", SLOTS, Script(FACTS))
    assert found.rate == 1.0
    assert found.answer.failure is not None


def test_a_made_up_value_fills_nothing() -> None:
    assert find(SLOTS[1], "the blue one", asked=True) is None
    assert find(SLOTS[2], "a few", asked=True) is None
    assert find(SLOTS[0], "I don't know", asked=True) is None
    assert find(SLOTS[0], "Oslo", asked=False) is None


async def test_bad_slots() -> None:
    with pytest.raises(InputError):
        Slot(" ")
    with pytest.raises(InputError):
        Slot("x", form=ResponseFormat("json"))
    for slots in ((), (SLOTS[0], SLOTS[0])):
        with pytest.raises(InputError):
            await interview(Fake(), "Order.", slots, Script({}))
