"""API-Bank's files: dialogues, tools whose descriptions are half Python, and the right calls."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from rung.agents.calls.apibank import read_apis, read_calls
from rung.agents.calls.bfcl import complaint
from rung.agents.loop.move import Call
from rung.core.errors import InputError


def data(folder: Path) -> Path:
    info = "description = \"Adds.\"\ninput_parameters = {'a': {'type': 'int', 'description': 'One.'}, 'when': {'type': 'str', 'description': ''}}"
    with (folder / "all_apis.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["类名", "input_parameters", "api_info"])
        rows.writerow(["Add", "(a: int, when: str)", info])
        rows.writerow(["Odd", "(name: str)", "no Python: {"])
    turns = [
        {"role": "User", "text": "Add 3 tomorrow."},
        {"role": "API", "api_name": "Add", "param_dict": {"a": 3, "when": "2026-01-02"}, "result": {"output": "done"}},
        {"role": "AI", "text": "Done."},
        {"role": "API", "api_name": "Odd", "param_dict": {"name": "x"}, "result": {"output": None}},
        {"role": "API", "api_name": "ToolSearcher", "param_dict": {"keywords": "x"}, "result": {}},
    ]
    (folder / "dialogues.jsonl").write_text(json.dumps({"file": "d", "turns": turns}) + "\n")
    return folder


def test_calls_with_what_was_said_before(tmp_path: Path) -> None:
    first, second = read_calls(data(tmp_path))
    assert first.request == "User: Add 3 tomorrow."
    assert second.request.endswith("AI: Done.")
    assert 'Add {"a": 3' in second.request
    assert [tool.name for tool in first.tools] == ["Add", "Odd"]
    assert first.tools[0].schema["properties"]["a"] == {"type": "integer", "description": "One."}
    assert complaint(first, Call("Add", {"a": 3, "when": "2026-01-02"})) == ""
    assert complaint(first, Call("Add", {"a": 4, "when": "2026-01-02"}))
    assert complaint(second, Call("Add", {"a": 3}))


def test_another_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "all_apis.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        read_apis(tmp_path)
