"""What other servers answer beside the protocol: taken where it is plain what is meant, else told as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.remote.upstream import read_choice, refusal_of, usage_of


def said(message: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}


def call(arguments: Any) -> dict[str, Any]:
    return said({"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("hello", "hello"),
        (
            [{"type": "text", "text": "hel"}, {"type": "thinking", "thinking": []}, {"type": "text", "text": "lo"}],
            "hello",
        ),
    ],
)
def test_content_is_a_text_or_parts_of_it(content: Any, text: str) -> None:
    assert read_choice(said({"content": content})).text == text


@pytest.mark.parametrize("content", [7, ["hello"], [{"type": "text"}], {"text": "hello"}])
def test_content_that_is_neither_is_no_completion(content: Any) -> None:
    with pytest.raises(Refused, match="no completion"):
        read_choice(said({"content": content}))


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}])
def test_arguments_are_json_or_an_object(arguments: Any) -> None:
    assert read_choice(call(arguments)).tool_calls[0].arguments == {"a": 1}


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", [1], "[" * 100_000])
def test_arguments_that_are_neither_are_told(arguments: Any) -> None:
    with pytest.raises(Refused, match="arguments that are not a JSON object"):
        read_choice(call(arguments))


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": {"message": "overloaded"}}, 502, "answered 200 with an error: overloaded"),
        ({"error": {"message": "slow down", "code": 429}}, 429, "too much to do: slow down"),
        ({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400, "too long"),
        ({"choices": []}, 502, "answered 200 with something that is no completion"),
        ([1, 2], 502, "no completion"),
    ],
)
def test_an_error_behind_status_200_is_not_said_to_be_another_status(body: Any, status: int, words: str) -> None:
    found = refusal_of(200, json.dumps(body).encode(), None)
    assert (found.status, words in str(found)) == (status, True)


def test_when_to_come_again_is_seconds_or_a_date() -> None:
    assert refusal_of(429, b"", "7").retry_after == 7
    assert refusal_of(429, b"", "soon").retry_after == 1
    date = refusal_of(429, b"", format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)).retry_after
    assert date is not None
    assert 1_000 < date <= 1_800
    assert (
        refusal_of(503, b"", format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True)).retry_after == 3_600
    )


def test_usage_that_cannot_be_is_none() -> None:
    assert usage_of({"prompt_tokens": -3, "completion_tokens": 2}) is None
