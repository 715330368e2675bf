"""Chat exports: whose turns are learnt, what is one conversation, what is no message."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.sources.chat import Turn, converse, is_chat, moment, read
from rung.data.sources.kind import kind_of_source


def test_a_conversation_begins_with_them_and_ends_with_me() -> None:
    turns = [
        Turn("Me", "ad", "1"),
        Turn("Ann", "Hi", "2"),
        Turn("Ann", "there?", "3"),
        Turn("ME", "Yes", "4"),
        Turn("Ann", "bye", "5"),
    ]
    messages = converse(turns, ["me"])
    assert [(m.role, m.content) for m in messages] == [("user", "Hi\n\nthere?"), ("assistant", "Yes")]
    assert converse(turns[:3], ["me"]) == ()


def test_json_with_a_gap(tmp_path: Path) -> None:
    rows = [
        {"from": "Ann", "date": "2026-01-01T10:00:00", "text": "Is it open?"},
        {"from": "Me", "date": "2026-01-01T10:05:00", "text": ["Yes, ", {"type": "bold", "text": "all day"}]},
        {"from": "Ann", "date": "2026-01-03T09:00:00", "text": "And now?"},
        {"from": "Me", "date": "2026-01-03T09:01:00", "text": "Closed."},
    ]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"name": "x", "messages": rows}))
    assert kind_of_source(path) == "chat"
    problems = Problems()
    found = list(read(path, ["Me"], problems))
    assert [[m.content for m in record.messages] for record in found] == [
        ["Is it open?", "Yes, all day"],
        ["And now?", "Closed."],
    ]
    assert found[0].source["lines"] == ["1", "2"]
    assert found[0].source["conversation"] == "result.json#1"
    assert found[1].source["time"].startswith("2026-01-03T09:00:00")
    assert not problems.found


def test_csv_by_channel_and_out_of_order(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["channel", "author", "timestamp", "text"])
        writer.writerows(
            [["a", "bot", "1700000100", "Sure"], ["b", "x", "1700000000", "lonely"], ["a", "x", "1700000000", "Help?"]]
        )
    assert kind_of_source(path) == "chat"
    problems = Problems()
    found = list(read(path, ["bot"], problems))
    assert [[m.content for m in record.messages] for record in found] == [["Help?", "Sure"]]
    assert len(problems.found) == 1
    assert problems.found[0].code == "no-answer"


def test_what_is_no_chat(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(
        '{"author": "a", "time": "x", "text": "t"}\n{broken\n[1]\n{"author": "me", "time": 5, "text": "u"}\n'
    )
    problems = Problems()
    assert len(list(read(path, ["me"], problems))) == 1
    assert {problem.line: problem.code for problem in problems.found} == {
        1: "not-a-time",
        2: "not-json",
        3: "not-a-chat",
    }
    with pytest.raises(InputError, match="whose turns"):
        list(read(path, [], Problems()))
    (tmp_path / "x.json").write_bytes(b"\x00\x01\x02\xff" * 100)
    with pytest.raises(InputError, match="not text"):
        list(read(tmp_path / "x.json", ["me"], Problems()))
    assert not is_chat(["instruction", "output"])


def test_moments() -> None:
    assert moment("2026-01-01T00:00:00Z") == moment("2026-01-01T01:00:00+01:00") == 1767225600
    assert moment(1767225600000) == moment("1767225600") == 1767225600
    assert moment("yesterday") is None
