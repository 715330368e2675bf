"""The Berkeley Function Calling Leaderboard, read from a folder: requests, their functions, and which calls are right.

What is right is decided as its own checker of syntax trees does (Patil et al., "The Berkeley Function Calling
Leaderboard", ICML 2025): texts are compared without case, spaces and ``,./-_*^``, an integer does for a float, an
optional argument may be left out where the possible answers have "". Written from its description; none of its code is
here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

CATEGORIES = ("simple_python", "multiple", "irrelevance")

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}
_PYTHON: dict[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict, "any": str,
}  # fmt: skip
_IGNORED = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True, slots=True)
class CallItem:
    """A request, the functions offered, and the right one with each argument's possible values. ``source`` is the
    functions as they are in the file, by name."""

    id: str
    request: str
    tools: tuple[ToolSpec, ...]
    name: str
    answers: Mapping[str, Sequence[Any]]
    source: Mapping[str, Mapping[str, Any]]


def read_items(folder: Path, category: str, limit: int | None = None) -> list[CallItem]:
    """The first items of a category, from ``BFCL_v4_CATEGORY.jsonl`` and the file of that name in ``possible_answer``.
    Of "irrelevance" no function is right: the name is empty.

    Raises InputError where a file is missing or is something else.
    """
    questions = _lines(folder, f"BFCL_v4_{category}")
    none = category == "irrelevance"
    answers = {} if none else {row["id"]: row for row in _lines(folder / "possible_answer", f"BFCL_v4_{category}")}
    items = []
    for row in questions[:limit]:
        try:
            (truth,) = ({"": {}},) if none else answers[row["id"]]["ground_truth"]
            ((name, possible),) = truth.items()
            request = "\n".join(turn["content"] for turn in row["question"][0] if turn["role"] == "user")
            functions = {function["name"]: function for function in row["function"]}
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise InputError(
                f"{folder}: item {row.get('id')!r} is no request with one right call: {error}",
                remedy="give the folder of the leaderboard's data",
            ) from None
        tools = tuple(tool_of(function) for function in functions.values())
        items.append(CallItem(row["id"], request, tools, name, possible, functions))
    return items


def has(folder: Path, category: str) -> bool:
    """Whether the folder holds a category."""
    return any(folder.glob(f"BFCL_v4_{category}.json*"))


def _lines(folder: Path, name: str) -> list[dict[str, Any]]:
    found = next((path for end in ("jsonl", "json") if (path := folder / f"{name}.{end}").is_file()), None)
    if found is None:
        raise InputError(f"there is no {name}.jsonl in {folder}", remedy="give the folder of the leaderboard's data")
    try:
        return [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (ValueError, OSError) as error:
        raise InputError(f"{found}: {error}", remedy="expected a JSON object a line") from None


def tool_of(function: Mapping[str, Any]) -> ToolSpec:
    """A function of the leaderboard's files as a tool."""
    schema = {"type": "object", "properties": {}, **_schema(function.get("parameters") or {})}
    return ToolSpec(function["name"], function.get("description", ""), schema)


def _schema(given: Any) -> Any:
    """The file's own dialect as a JSON schema."""
    if not isinstance(given, Mapping):
        return given
    out: dict[str, Any] = {}
    for key, value in given.items():
        if key == "type":
            kind = _TYPES.get(value, value)
            out |= {"type": kind} if kind else {}
        elif key == "properties":
            out[key] = {name: _schema(inner) for name, inner in value.items()}
        elif key == "items":
            out[key] = _schema(value)
        elif key not in ("optional", "format", "default"):
            out[key] = value
    return out


def complaint(item: CallItem, call: Call | None) -> str:
    """Why a call is not the right one; nothing where it is."""
    if call is None:
        return "no call"
    if call.tool != item.name:
        return f"{call.tool} in place of {item.name}"
    parameters = item.source[item.name]["parameters"]
    properties = parameters.get("properties", {})
    for name in parameters.get("required", ()):
        if name not in call.arguments:
            return f"{name} is missing"
    for name, value in call.arguments.items():
        if name not in properties or name not in item.answers:
            return f"{name} is not asked for"
        wrong = _wrong(value, properties[name], item.answers[name])
        if wrong:
            return f"{name}: {wrong}"
    left = [name for name, possible in item.answers.items() if name not in call.arguments and "" not in possible]
    return f"{left[0]} is missing" if left else ""


def _wrong(value: Any, schema: Mapping[str, Any], possible: Sequence[Any]) -> str:
    wanted = _PYTHON.get(str(schema.get("type")), object)
    if wanted is float and type(value) is int:
        value = float(value)
    given = {type(one) for one in possible if one != ""}
    if wanted is not object and type(value) is not wanted and type(value) not in given:
        return f"{value!r} is no {schema.get('type')}"
    if type(value) is dict:
        return "" if any(_equal_dict(value, one) for one in possible if isinstance(one, Mapping)) else f"got {value!r}"
    if type(value) is list and value and all(type(one) is dict for one in value):
        right = any(
            isinstance(one, list) and len(one) == len(value) and all(map(_equal_dict, value, one)) for one in possible
        )
        return "" if right else f"got {value!r}"
    return "" if any(_equal(value, one) for one in possible) else f"got {value!r}"


def _equal(value: Any, one: Any) -> bool:
    if isinstance(value, list) and isinstance(one, list):
        return len(value) == len(one) and all(map(_equal, value, one))
    if isinstance(value, bool) is not isinstance(one, bool):
        return False
    return bool(_standard(value) == _standard(one))


def _equal_dict(value: Mapping[str, Any], one: Any) -> bool:
    """Each key has one of its possible values; one that may be "" may be left out."""
    if not isinstance(one, Mapping) or not value.keys() <= one.keys():
        return False
    for name, possible in one.items():
        allowed = possible if isinstance(possible, list) else [possible]
        if name not in value:
            if "" not in allowed:
                return False
        elif not any(_equal(value[name], option) for option in allowed):
            return False
    return True


def _standard(value: Any) -> Any:
    return _IGNORED.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
