"""API-Bank (Li et al., EMNLP 2023), read from a folder: dialogues with a user, and at each call of a tool the one that
is right.

A dialogue's tools are those that it calls. A call is right under the rules of ``bfcl.complaint`` with the recorded
arguments as the only possible ones.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rung.agents.calls.bfcl import CallItem, tool_of
from rung.core.errors import InputError

TURNS, CHARACTERS = 12, 3000
"""How much of a dialogue stands before a call, its end."""

_KINDS = {"str": "string", "int": "integer", "float": "float", "bool": "boolean", "list": "array", "dict": "dict"}


def read_apis(folder: Path) -> dict[str, dict[str, Any]]:
    """The functions of ``all_apis.csv`` by name, as the leaderboard's files write them. Raises InputError for another
    file."""
    found: dict[str, dict[str, Any]] = {}
    try:
        with (folder / "all_apis.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                about, given = _read(row["api_info"])
                kinds = dict(re.findall(r"(\w+): (\w+)", row["input_parameters"]))
                properties = {
                    name: {"type": _KINDS.get(kind, "string"), "description": given.get(name, "")}
                    for name, kind in {**dict.fromkeys(given, "str"), **kinds}.items()
                }
                parameters = {"type": "dict", "properties": properties, "required": list(properties)}
                name = row["类名"]
                found[name] = {"name": name, "description": about or name, "parameters": parameters}
    except (OSError, KeyError, ValueError, SyntaxError, AttributeError) as error:
        raise InputError(f"{folder}/all_apis.csv: {error}", remedy="give the folder of API-Bank's data") from None
    return found


def read_calls(folder: Path) -> list[CallItem]:
    """An item for each recorded call of a known tool, with what was said before it. Searches for a tool are left out:
    their words are free. Raises InputError where a file is missing or is something else."""
    apis, items = read_apis(folder), []
    try:
        dialogues = [json.loads(line) for line in (folder / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
        for dialogue in dialogues:
            turns = dialogue["turns"]
            called = dict.fromkeys(turn["api_name"] for turn in turns if turn["role"] == "API")
            source = {name: apis[name] for name in called if name in apis}
            for at, turn in enumerate(turns):
                if turn["role"] != "API" or turn["api_name"] not in source:
                    continue
                said = "\n".join(map(_line, turns[max(0, at - TURNS) : at]))[-CHARACTERS:]
                answers = {name: [value] for name, value in turn["param_dict"].items()}
                tools = tuple(map(tool_of, source.values()))
                items.append(CallItem(f"{dialogue['file']}#{at}", said, tools, turn["api_name"], answers, source))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}/dialogues.jsonl: {error}", remedy="give the folder of API-Bank's data") from None
    return items


def _read(text: str) -> tuple[str, dict[str, str]]:
    """A function's description and its parameters'; in a few rows they are no Python."""
    try:
        nodes = ast.parse(text).body
    except SyntaxError:
        return "", {}
    said = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    given = said.get("input_parameters")
    named = given if isinstance(given, dict) else {}
    return str(said.get("description", "")), {
        name: str(one.get("description", "")) for name, one in named.items() if isinstance(one, dict)
    }


def _line(turn: Mapping[str, Any]) -> str:
    if turn["role"] != "API":
        return f"{turn['role']}: {turn['text']}"
    given = json.dumps(turn["param_dict"], ensure_ascii=False)
    result = turn.get("result") or {}
    return f"{turn['api_name']} {given} -> {json.dumps(result.get('output'), ensure_ascii=False)}"
