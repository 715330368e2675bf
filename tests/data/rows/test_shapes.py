"""Every form in, every form out: the same row again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.data.rows import shapes
from rung.data.rows.read import read

ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "id": 7},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
                },
                {"role": "tool", "content": "sun", "tool_call_id": "1"},
                {"role": "assistant", "content": "Sunny."},
            ],
            "tools": [{"name": "w"}],
        },
    ],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": ""},
        {
            "system": "Use tools.",
            "conversations": [
                {"from": "human", "value": "2+2"},
                {"from": "function_call", "value": '{"name": "add"}'},
                {"from": "observation", "value": "4"},
                {"from": "gpt", "value": "4"},
            ],
            "tools": "[]",
        },
    ],
    "preference": [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "A"}, "rejected": {"from": "gpt", "value": "B"}},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nthere", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
    ],
    "instruction": [
        {"instruction": "Add", "input": "", "output": "3"},
        {"instruction": "Add", "input": "1 2", "output": "3", "topic": "sums"},
        {"instruction": "Add", "context": "1 2", "response": "3", "category": "qa"},
    ],
    "prompt": [{"prompt": "Hi", "completion": "Hello"}, {"prompt": "Hi", "response": "Hello", "score": 1}],
    "text": [{"text": "plain", "page": 3}],
}  # fmt: skip


@pytest.mark.parametrize("name", list(ROWS))
def test_round_trip(name: str) -> None:
    for row in ROWS[name]:
        record = shapes.read(row, "r", {"file": "f", "line": 1})
        assert record.shape == name
        assert shapes.shape(name).write(record) == row


def test_what_is_read() -> None:
    record = shapes.read(ROWS["instruction"][1], "r", {})
    assert [m.content for m in record.messages] == ["Add\n\n1 2", "3"]
    assert shapes.read(ROWS["instruction"][0], "r", {}).messages[0].content == "Add"  # an empty input adds nothing
    call = shapes.read(ROWS["sharegpt"][1], "r", {}).messages
    assert [m.role for m in call] == ["system", "user", "assistant", "tool", "assistant"]
    assert call[2].content == '<tool_call>\n{"name": "add"}\n</tool_call>'
    pair = shapes.read(ROWS["preference"][2], "r", {})
    assert (pair.question, pair.answer, pair.rejected) == ("Hi", "Hello\n\nthere", "No")


def test_one_form_into_another_keeps_the_words() -> None:
    """Prompt/completion to a conversation and back: the training text is the same byte for byte."""
    row = ROWS["prompt"][0]
    record = shapes.read(row, "r", {})
    talk = shapes.shape("messages").write(record)
    assert talk == {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    again = shapes.read(talk, "r", {})
    assert again.messages == record.messages
    assert shapes.shape("prompt").write(again) == row
    assert again.content == record.content


def test_changed_words_win_over_the_kept_row() -> None:
    for name in ("messages", "sharegpt", "instruction", "prompt", "preference"):
        record = shapes.read(ROWS[name][0], "r", {})
        masked = record.with_texts(tuple("xx" for _ in record.messages))
        assert "xx" in json.dumps(shapes.shape(name).write(masked))
        assert "Hello" not in json.dumps(shapes.shape(name).write(masked))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": 1}, "expected messages"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "message 1 has no role"),
        ({"conversations": [{"from": "dog", "value": "x"}]}, "turn 1 is from 'dog'"),
        ({"instruction": 3, "output": "x"}, "instruction is int"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}, "differ before"),
    ],
)
def test_rows_that_are_none(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shapes.read(row, "r", {})


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS["instruction"]) + '{"a": 1}\n')
    faults: list[str] = []
    records = list(read([path], faults=faults))
    assert [record.id for record in records] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    assert records[1].source == {"file": "rows.jsonl", "line": 2}
    assert len(faults) == 1
    assert "rows.jsonl:4" in faults[0]
    with pytest.raises(InputError, match=r"rows.jsonl:4: cannot be learnt from"):
        list(read([path]))
    with pytest.raises(InputError, match="unknown shape"):
        list(read([path], shape="round"))
    with pytest.raises(InputError):
        list(read([tmp_path / "none.jsonl"]))
