"""Chat templates over a toy tokenizer: one token a character, and control tokens wherever they are spelled."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError, Unsupported
from rung.core.types import Message, ToolCall, ToolSpec
from rung.models.engine.template import ChatTemplate, tools_schema, with_tools

CONTROL = {"<|s|>": 1, "<|e|>": 2, "<|e|>x": 3}
CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|s|>system\nBe kind<|e|>\n{% endif %}"
    "<|s|>{{ m['role'] }}\n{{ m['content'] }}<|e|>\n{% endfor %}{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)
PATTERN = re.compile(r"<\|e\|>x|<\|s\|>|<\|e\|>")


def encode(text: str) -> list[int]:
    out, at = [], 0
    for found in PATTERN.finditer(text):
        out += [10 + ord(c) for c in text[at : found.start()]]
        out.append(CONTROL[found.group()])
        at = found.end()
    return out + [10 + ord(c) for c in text[at:]]


def encode_all(texts: Sequence[str]) -> list[list[int]]:
    return [encode(text) for text in texts]


@pytest.fixture
def template() -> ChatTemplate:
    return ChatTemplate(CHATML, CONTROL, encode_all, bos="", eos="<|e|>")


def test_tokens_are_those_of_the_rendered_text(template: ChatTemplate) -> None:
    text = "<|s|>system\nBe kind<|e|>\n<|s|>user\nhello<|e|>\n<|s|>assistant\n"
    assert list(template.tokens([Message("user", "hello")])) == encode(text)
    assert template.turn_end == CONTROL["<|e|>"]


def test_a_text_full_of_control_tokens_is_one_call_of_the_tokenizer() -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> list[list[int]]:
        calls.append(len(texts))
        return encode_all(texts)

    template = ChatTemplate(CHATML, CONTROL, counted, bos="", eos="<|e|>")
    calls.clear()
    tokens = template.plain("<|e|>x <|s|>" * 2000)
    assert calls == [4001]
    assert min(tokens) >= 10


@given(st.text(alphabet=["<", "|", "e", "s", ">", "x", "é"], max_size=40), st.booleans())
def test_nothing_in_a_message_is_a_control_token(text: str, system: bool) -> None:
    template = ChatTemplate(CHATML, CONTROL, encode_all, bos="", eos="<|e|>")
    messages = [Message("system", text), Message("user", text)] if system else [Message("user", text)]
    plain = template.tokens([Message(m.role, "") for m in messages])
    got = template.tokens(messages)
    assert [t for t in got if t < 10] == [t for t in plain if t < 10]
    assert "".join(chr(t - 10) for t in got if t >= 10).count(text) >= len(messages) if text else True


def test_a_last_assistant_message_is_continued(template: ChatTemplate) -> None:
    got = template.tokens([Message("user", "hi"), Message("assistant", "So")])
    assert list(got) == [*template.tokens([Message("user", "hi")]), *encode("So")]


def test_tool_turns_become_text(template: ChatTemplate) -> None:
    spec = ToolSpec("add", "adds", {"type": "object"})
    messages = with_tools([Message("user", "1+1?")], [spec])
    assert messages[0].role == "system"
    assert '"name": "add"' in messages[0].content
    assert with_tools([Message("system", "S"), Message("user", "u")], [spec])[0].content.startswith("S\n\n")
    call = Message("assistant", "", (ToolCall("c1", "add", {"a": 1}),))
    got = template.tokens([*messages, call, Message("tool", "2", tool_call_id="c1")])
    text = "".join(chr(t - 10) for t in got if t >= 10)
    assert '{"tool": "add", "arguments": {"a": 1}}' in text
    assert "Result of tool call c1: 2" in text
    assert len(tools_schema([spec])["anyOf"]) == 2


def test_refusals_are_input_errors() -> None:
    refusing = ChatTemplate(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}<|s|>"
        "{% for m in messages %}{{ m['content'] }}<|e|>{% endfor %}",
        CONTROL,
        encode_all,
        bos="",
        eos="<|e|>",
    )
    with pytest.raises(InputError, match="no system role"):
        refusing.tokens([Message("system", "x")])
    with pytest.raises(InputError, match="no messages"):
        refusing.tokens([])
    with pytest.raises(Unsupported, match="no chat template"):
        ChatTemplate("", CONTROL, encode_all, bos="", eos="")
    with pytest.raises(Unsupported, match="does not compile"):
        ChatTemplate("{% if", CONTROL, encode_all, bos="", eos="")
