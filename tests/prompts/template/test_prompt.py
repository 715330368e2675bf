from __future__ import annotations

import pytest

from rung.core.errors import InputError
from rung.core.types import Example, ResponseFormat
from rung.prompts.template.prompt import Prompt, describe, show


def test_render_puts_parts_then_examples_then_input() -> None:
    prompt = Prompt("Say the intent.", persona="a clerk", constraints=("Be brief.",), format="One word.")
    messages = prompt.render({"text": "hi"}, [Example("1", {"text": "hello"}, "greeting")])
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0].content == "You are a clerk.\n\nSay the intent.\n\nRules:\n- Be brief.\n\nOne word."
    assert (messages[1].content, messages[2].content, messages[3].content) == ("hello", "greeting", "hi")


def test_a_persona_may_be_a_phrase_or_a_sentence() -> None:
    assert Prompt("Do.", persona="a clerk").system.startswith("You are a clerk.\n")
    assert Prompt("Do.", persona="You have seen it all.").system.startswith("You have seen it all.\n")


def test_several_fields_are_named() -> None:
    last = Prompt("Answer.").render({"passage": "Oslo is big.", "question": "What is big?"})[-1]
    assert last.content == "passage: Oslo is big.\nquestion: What is big?"


def test_drop_leaves_a_part_out() -> None:
    prompt = Prompt("Do it.", constraints=("x",), persona="y")
    assert prompt.drop("constraints", "persona") == Prompt("Do it.")
    with pytest.raises(InputError, match="no part voice"):
        prompt.drop("voice")


def test_labels_are_listed_with_their_notes() -> None:
    form = ResponseFormat("labels", labels=("refund", "other"))
    assert "refund, other" in describe(form)


@pytest.mark.parametrize(
    ("reference", "text"), [("a", "a"), (["a", "b"], "a"), ({"x": 1}, '{"x": 1}'), (3, "3"), ([], "[]")]
)
def test_references_as_answers(reference: object, text: str) -> None:
    assert show(reference) == text
