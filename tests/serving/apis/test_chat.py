from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rung.core.types import Message, ToolCall, Usage
from rung.serving.apis.wire.chat import ChatRequest, read_chat
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import usage_wire

BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def read(**changes: Any) -> ChatRequest:
    return read_chat(json.dumps({**BASE, **changes}).encode())


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"[]", None, "invalid_json"),
        (b"[" * 50_000, None, "invalid_json"),
        (b"\xff", None, "invalid_json"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', None, "invalid_json"),
        (b'{"messages": []}', "model", "missing_required_parameter"),
        (b'{"model": "m", "messages": []}', "messages", "invalid_value"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, param: str | None, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read_chat(body)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert set(caught.value.body()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 17}, "n"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"input": {"a": 3}}, "input.a"),
        ({"input": 3}, "input"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_a_wrong_type_is_named(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as caught:
        read(**changes)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_unknown_fields_are_ignored_and_null_is_absent() -> None:
    assert read(user="u", metadata={"a": 1}, temperature=None, stop="x").stop == ["x"]


def test_messages_become_ours() -> None:
    request = read(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "done"},
        ]
    )
    assert [message.message() for message in request.messages] == [
        Message("system", "ab"),
        Message("assistant", "", (ToolCall("1", "f", {"x": 1}),)),
        Message("tool", "done", tool_call_id="1"),
    ]


@pytest.mark.parametrize("arguments", ["{", "[]", "3"])
def test_tool_arguments_must_be_an_object(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    request = read(messages=[{"role": "assistant", "tool_calls": [call]}])
    with pytest.raises(Refused, match="not a JSON object"):
        request.messages[0].message()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", [1] * 400_000),
        ("messages", [{"role": "user", "content": "x"}] * 20_000),
        ("messages", [{"role": "user", "content": [{"type": "text", "text": "x"}] * 20_000}]),
        ("messages", [{"role": "assistant", "tool_calls": [1] * 400_000}]),
        ("tools", [1] * 400_000),
        ("stop", [""] * 400_000),
        ("input", {f"k{n}": n for n in range(80_000)}),
    ],
)
def test_of_a_body_full_of_mistakes_the_first_is_looked_at(field: str, value: object) -> None:
    """All of a million took 15 seconds, on the event loop."""
    body = json.dumps({**BASE, field: value}).encode()
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate_json(body)
    assert caught.value.error_count() <= 2
    assert caught.value.errors()[0]["loc"][0] == field


def test_usage() -> None:
    wire = usage_wire(Usage(prompt_tokens=3, completion_tokens=4, cached_tokens=2))
    assert (wire["total_tokens"], wire["prompt_tokens_details"]) == (7, {"cached_tokens": 2})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), JSON), st.booleans())
def test_any_body_is_read_or_refused(changes: dict[str, Any], whole: bool) -> None:
    refused: Refused | None = None
    try:
        read_chat(json.dumps({**BASE, **changes} if whole else changes).encode())
    except Refused as error:
        refused = error
    if refused is not None:
        assert refused.status == 400
        assert json.loads(json.dumps(refused.body()))["error"]["message"]


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        read_chat(body)
