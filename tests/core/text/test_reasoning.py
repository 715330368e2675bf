from __future__ import annotations

import pytest

from rung.core.text.reasoning import Listener, without_reasoning

BLOCKS = [
    "<think>maybe</think>\nyes",
    "<Thinking time=2>maybe</Thinking>yes",
    "<reasoning>\nmaybe <think>so</think>\n</reasoning>\n\nyes",
    "[THINK]maybe[/THINK]yes",
    "◁think▷maybe◁/think▷yes",
    "<|begin_of_thought|>maybe<|end_of_thought|><|begin_of_solution|>yes<|end_of_solution|>",
    "<|channel|>analysis<|message|>maybe<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>",
    "analysisWell, maybe.assistantfinalyes",
    "<think>maybe</think> <think>so</think>yes",
    "<mm:think>maybe</mm:think>yes",
    "<|thinking|>maybe<|/thinking|>yes",
    "<rationale>maybe</rationale>yes",
    "<unused94>thought\nmaybe<unused95>yes",
    "Thinking...\nmaybe\n...done thinking.\n\nyes",
    "Here is my thought process: maybe\n\nHere is my response: yes",
]


@pytest.mark.parametrize("text", [*BLOCKS, "maybe</think>yes", "yes\n<think>or may"])
def test_reasoning_is_left_out(text: str) -> None:
    assert without_reasoning(text).strip() == "yes"


@pytest.mark.parametrize("text", ["The `<think>` tag", "a < b > c", "write <think> to think", "analysis of variance"])
def test_text_stays_text(text: str) -> None:
    assert without_reasoning(text) == text


def test_an_open_block_in_mid_line_counts_where_the_answer_is_of_a_closed_form() -> None:
    assert without_reasoning("hm <think>no, yes", strict=True).strip() == "hm"
    assert without_reasoning("<|channel|>analysis<|message|>maybe") == ""


@pytest.mark.parametrize(
    "text",
    [*BLOCKS, "plain < text [1] stays", "one\n<think>two</think>three", "one<think>two</think>three", "a <think/> b"],
)
@pytest.mark.parametrize("width", [1, 3, 1000])
def test_a_stream_gives_out_what_the_whole_does(text: str, width: int) -> None:
    listener = Listener()
    heard = "".join(listener.feed(text[at : at + width]) for at in range(0, len(text), width)) + listener.close()
    assert heard == without_reasoning(text)


def test_marks_without_end_are_read_in_one_pass() -> None:
    assert without_reasoning("a <think>" * 20_000) == "a <think>" * 20_000


def test_a_reply_that_begins_in_its_reasoning() -> None:
    known = Listener(inside=True)
    heard = [known.feed(piece) for piece in ("may", "be</th", "ink>\n", "yes")]
    assert "".join([*heard, known.close()]).strip() == "yes"
    unknown = Listener()
    assert [unknown.feed(piece) for piece in ("maybe", "</think>", "yes")] == ["maybe", "", ""]
    assert unknown.late
    never = Listener(inside=True)
    assert [never.feed("yes"), never.close()] == ["", "yes"]
