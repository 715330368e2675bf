"""The leaderboard's files and its notion of a right call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.agents.calls.bfcl import CallItem, complaint, read_items
from rung.agents.loop.move import Call
from rung.core.errors import InputError

FUNCTION = {
    "name": "trip.plan",
    "description": "Plan a trip.",
    "parameters": {
        "type": "dict",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "budget": {"type": "float"},
            "stops": {"type": "array", "items": {"type": "string"}},
            "guide": {"type": "boolean", "optional": True},
            "hotel": {"type": "dict", "properties": {"stars": {"type": "integer"}}},
        },
        "required": ["city", "days"],
    },
}
TRUTH = {
    "city": ["New York, NY", "NYC"],
    "days": [3],
    "budget": [500.0, ""],
    "stops": [["Central Park", "MoMA"], ""],
    "guide": ["", False],
    "hotel": [{"stars": [4, 5], "pool": ["", True]}, ""],
}


def write(folder: Path, category: str, rows: list[dict[str, Any]], truths: list[dict[str, Any]]) -> None:
    (folder / "possible_answer").mkdir(exist_ok=True)
    for path, lines in ((folder, rows), (folder / "possible_answer", truths)):
        (path / f"BFCL_v4_{category}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def item(tmp_path: Path) -> CallItem:
    row = {"id": "x_0", "question": [[{"role": "user", "content": "Three days in New York"}]], "function": [FUNCTION]}
    write(tmp_path, "simple_python", [row], [{"id": "x_0", "ground_truth": [{"trip.plan": TRUTH}]}])
    return read_items(tmp_path, "simple_python")[0]


def test_the_dialect_becomes_a_json_schema(item: CallItem) -> None:
    schema = item.tools[0].schema
    assert schema["type"] == "object"
    assert schema["properties"]["budget"] == {"type": "number"}
    assert schema["properties"]["guide"] == {"type": "boolean"}
    assert schema["properties"]["hotel"]["type"] == "object"


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "new york ny", "days": 3},
        {"city": "NYC", "days": 3, "budget": 500},
        {"city": "NYC", "days": 3, "stops": ["central park", "moma"], "guide": False},
        {"city": "NYC", "days": 3, "hotel": {"stars": 5}},
    ],
)
def test_right_calls(item: CallItem, arguments: dict[str, Any]) -> None:
    assert complaint(item, Call("trip.plan", arguments)) == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"city": "NYC"}, "days is missing"),
        ({"city": "Boston", "days": 3}, "city"),
        ({"city": "NYC", "days": 3.0}, "days"),
        ({"city": "NYC", "days": True}, "days"),
        ({"city": "NYC", "days": 3, "guide": True}, "guide"),
        ({"city": "NYC", "days": 3, "pets": 1}, "pets is not asked for"),
        ({"city": "NYC", "days": 3, "stops": ["MoMA", "Central Park"]}, "stops"),
        ({"city": "NYC", "days": 3, "hotel": {"pool": True}}, "hotel"),
        ({"city": "NYC", "days": 3, "hotel": {"stars": 5, "bar": 1}}, "hotel"),
    ],
)
def test_wrong_calls(item: CallItem, arguments: dict[str, Any], why: str) -> None:
    assert why in complaint(item, Call("trip.plan", arguments))


def test_no_call_and_another_one(item: CallItem) -> None:
    assert complaint(item, None) == "no call"
    assert "in place of" in complaint(item, Call("trip.cancel", {}))


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no BFCL_v4_multiple"):
        read_items(tmp_path, "multiple")
    write(tmp_path, "multiple", [{"id": "a"}], [{"id": "b"}])
    with pytest.raises(InputError, match="'a' is no request"):
        read_items(tmp_path, "multiple")
    (tmp_path / "BFCL_v4_multiple.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match="a JSON object a line"):
        read_items(tmp_path, "multiple")
