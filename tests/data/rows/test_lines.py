"""The file between the verbs: any record comes back as it was, and other programs can read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.read import read, stream
from rung.data.rows import shapes
from rung.data.rows.forms import Columns
from rung.data.rows.lines import pack, packed, unpack, write
from tests.data.rows.test_shapes import ROWS


@pytest.mark.parametrize("name", list(ROWS))
def test_records_come_back_and_write_the_row_that_they_were(name: str, tmp_path: Path) -> None:
    records = [shapes.read(row, f"r{n}", {"file": "f", "line": n}) for n, row in enumerate(ROWS[name])]
    path = tmp_path / "rows.jsonl"
    assert write(path, records) == len(records)
    again = [record for _, record in stream(path)]
    assert [record.content for record in again] == [record.content for record in records]
    assert [(r.id, r.source, r.shape) for r in again] == [(r.id, r.source, r.shape) for r in records]
    assert [shapes.write(record, shapes.shape(name)) for record in again] == ROWS[name]
    assert list(read([path])) == again  # rung tune reads it so


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    record = shapes.read({"text": "a\ud83d b"}, "r", {})
    write(tmp_path / "x.jsonl", [record])
    assert [found.text for _, found in stream(tmp_path / "x.jsonl")] == ["a? b"]  # no text file could hold it


def test_self_instruct(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "id": "t1",
        "instruction": "Add",
        "instances": [{"input": "1 2", "output": "3"}, {"input": "", "output": "0"}],
    }
    path = tmp_path / "seed.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "instances": []}) + "\n")
    problems = Problems()
    first, second = read([path], problems=problems)
    assert [m.content for m in first.messages] == ["Add\n\n1 2", "3"]
    assert second.source == {"file": "seed.jsonl", "line": 1, "instance": 2}
    assert shapes.write(first, shapes.shape("instruction")) == {
        "id": "t1",
        "instruction": "Add",
        "input": "1 2",
        "output": "3",
    }
    assert len(problems.found) == 1


def test_damage_is_told(tmp_path: Path) -> None:
    row = pack(shapes.read(ROWS["prompt"][0], "r", {}))
    assert packed(row)
    assert not packed({"rung": 3})
    row["messages"][0]["role"] = "boss"
    with pytest.raises(ValueError, match="message 1 has no role"):
        unpack(row)
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"x.jsonl:1"):
        list(stream(path))
    with pytest.raises(InputError) as caught:
        list(stream(tmp_path / "none.jsonl"))
    assert caught.value.code == "not-found"


def test_columns_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('text,label,n\n"a, b",spam,1\nc,ham,2\n')
    records = list(read([path], shape=Columns("text", "label")))
    assert [(r.question, r.answer) for r in records] == [("a, b", "spam"), ("c", "ham")]
    assert shapes.write(records[0], shapes.shape("columns")) == {"text": "a, b", "label": "spam", "n": "1"}
    changed = records[0].with_texts(("x", "spam"))
    assert shapes.write(changed, shapes.shape("columns")) == {"text": "x", "label": "spam", "n": "1"}
    assert shapes.read({"question": "q", "answer": 3}, "r", {}).answer == "3"
