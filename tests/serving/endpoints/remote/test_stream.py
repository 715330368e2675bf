from __future__ import annotations

import json

import pytest

from rung.core.types import Usage
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import Piece
from rung.serving.endpoints.remote.stream import StreamReader


def event(text: str = "", finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


def test_pieces_that_come_together_stay_apart_in_one_event() -> None:
    reader = StreamReader()
    whole = event("a") + event("bé") + event("c")
    cut = len(event("a") + event("bé")) - 20
    assert reader.feed(whole[:cut]) == [Piece(0, "a")]
    assert reader.feed(whole[cut:]) == [Piece(0, "béc", ("bé", "c"))]
    told = {"prompt_tokens": 3, "completion_tokens": 2}
    assert reader.feed(event(finish="stop", usage=told) + b": note\r\ndata: [DONE]\r\n" + event("late")) == []
    assert reader.over
    assert reader.told == Usage(1, 3, 2)
    (choice,) = reader.choices(Usage(calls=1))
    assert (choice.text, choice.finish, choice.usage.calls) == ("abéc", "stop", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"data: {\n",
        b"data: [1]\n",
        b'data: {"error": {"message": "no"}}\n',
        b'data: {"choices": [7]}\n',
        b'data: {"choices": [{"index": "x"}]}\n',
        b'data: {"choices": [{"delta": {"content": ["a"]}}]}\n',
        b"data: \xff\n",
        b"data: " + b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_stream_is_told(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        StreamReader().feed(data)
    assert caught.value.status == 502


def test_a_stream_without_a_finish_was_cut() -> None:
    reader = StreamReader()
    reader.feed(event("a"))
    with pytest.raises(Refused) as caught:
        reader.choices(Usage())
    assert caught.value.code == "stream_cut"
