"""Turns of conversations in their public forms (OpenAI, Anthropic, ShareGPT), read into messages and written back;
tools as well.

A call of a tool is said in words, as small open models are trained to: ``<tool_call>`` with a JSON object of name and
arguments. Every key of a turn is read, refused by name, or named as kept but not learnt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rung.core.types import Message, Role, ToolSpec
from rung.data.rows.records import RowError

TOOL = "<tool_call>\n{}\n</tool_call>"
SPEAKERS: Mapping[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "function_call": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "ipython": "tool",
}  # fmt: skip
"""Who speaks, as the public forms name them."""
SHAREGPT: Mapping[Role, str] = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
WEIGHTS = ("weight", "train", "training")
"""Keys that say whether an assistant's turn is learnt: OpenAI's, and axolotl's."""
_READ = {"role", "from", "content", "value", "tool_calls", "function_call", "refusal", *WEIGHTS}
_LINKS = {"tool_call_id", "id", "type", "annotations"}
"""What ties a result to its call. Models are shown the order instead, so nothing is lost from what they learn."""
_CALLS = re.compile(r"(?:\A|\n)((?:<tool_call>\n[^\n]*\n</tool_call>(?:\n(?=<)|\Z))+)\Z")


def text(value: Any, name: str) -> str:
    """Text, empty for None. Raises RowError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{name} is {type(value).__name__}, expected text", "type")
    return value


def is_turns(value: Any) -> bool:
    """Whether a value is a list of turns (or an empty list)."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in value)
    )


# ---------------------------------------------------------------- reading


def read_turns(turns: Sequence[Any], unlearnt: set[str]) -> tuple[Message, ...]:
    """The messages of turns. Names of keys that no model is shown are added to ``unlearnt``.

    Raises RowError, with the number of the turn, for an unknown speaker, a content that is no text (pictures, sound,
    files), a weight other than 0 and 1, and calls of tools that cannot be read."""
    return tuple(message for place, turn in enumerate(turns, 1) for message in _read_turn(turn, place, unlearnt))


def _read_turn(turn: Any, place: int, unlearnt: set[str]) -> Iterator[Message]:
    who = turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None
    role = SPEAKERS.get(who.lower()) if isinstance(who, str) else None
    if role is None:
        raise RowError(f"message {place} is from {who!r}, expected {', '.join(SPEAKERS)}", "speaker")
    unlearnt |= {
        f"{key} of a message"
        for key, value in turn.items()
        if key not in _READ | _LINKS and value not in (None, "", [])
    } - ({"name of a message"} if role == "tool" else set())
    content = turn.get("content", turn.get("value"))
    calls: list[str] = []
    if role == "user" and isinstance(content, Sequence) and not isinstance(content, str):
        # Anthropic: results of tools stand in the next user's turn.
        for part in (part for part in content if _kind(part) == "tool_result"):
            yield Message("tool", _content(part.get("content"), place, unlearnt, calls))
        content = [part for part in content if _kind(part) != "tool_result"]
        if not content:
            return
    said = _content(content, place, unlearnt, calls)
    refusal = text(turn.get("refusal"), f"refusal of message {place}")
    if refusal and said:
        raise RowError(f"message {place} has both a content and a refusal, expected one of them", "content")
    if isinstance(who, str) and who.lower() == "function_call":
        calls += [_call(call, place) for call in _several(_loads(said, f"the tool call in message {place}"))]
        said = ""
    given = turn.get("tool_calls") or []
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RowError(f"tool_calls of message {place} is {type(given).__name__}, expected a list", "tool-calls")
    calls += [_call(call, place) for call in given]
    if (old := turn.get("function_call")) is not None:
        calls.append(_call(old, place))
    whole = "\n".join(piece for piece in (said or refusal, *calls) if piece)
    yield Message(role, whole, learn=_learn(turn, place) if role == "assistant" else True)


def _kind(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None


def _content(value: Any, place: int, unlearnt: set[str], calls: list[str]) -> str:
    """Text of a content: a text, or a list of parts, whose calls of tools are added to ``calls``."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return text(value, f"content of message {place}")
    pieces = []
    for part in value:
        kind = _kind(part)
        if isinstance(part, str):
            pieces.append(part)
        elif kind in ("text", "input_text", "output_text"):
            pieces.append(text(part.get("text"), f"a text part of message {place}"))
        elif kind == "refusal":
            pieces.append(text(part.get("refusal"), f"a refusal in message {place}"))
        elif kind == "tool_use":
            calls.append(_call({"name": part.get("name"), "arguments": part.get("input", {})}, place))
        elif kind in ("thinking", "redacted_thinking", "reasoning"):
            unlearnt.add("thinking of a message")
        else:
            raise RowError(f"message {place} holds a part of type {kind!r}: only text can be learnt from", "media")
    return "".join(pieces)


def _learn(turn: Mapping[str, Any], place: int) -> bool:
    for key in WEIGHTS:
        if (weight := turn.get(key)) is not None:
            if weight not in (0, 1):
                raise RowError(f"{key} of message {place} is {weight!r}, expected 0 or 1", "weight")
            return bool(weight)
    return True


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _loads(value: str, name: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError(f"{name} is not JSON: {value[:60]!r}", "not-json") from None


def _call(call: Any, place: int) -> str:
    """A call of a tool in words. Arguments that are JSON in a text, as OpenAI sends them, are said as what they are."""
    inner = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        kind = f" of type {_kind(call)!r}" if _kind(call) else ""
        raise RowError(f"a tool call{kind} in message {place} has no function with a name", "tool-calls")
    said: dict[str, Any] = {"name": inner["name"]}
    for key in ("arguments", "parameters"):
        if key in inner:
            given = inner[key]
            if isinstance(given, str):
                given = _loads(given, f"arguments of the tool call in message {place}") if given.strip() else {}
            said["arguments"] = given
            break
    return TOOL.format(json.dumps(said, ensure_ascii=False))


def split_calls(content: str) -> tuple[str, list[dict[str, Any]]]:
    """An assistant's text and the calls of tools behind it (name, arguments). No call where what stands there is not
    read back as it is."""
    found = _CALLS.search(content)
    if found is None:
        return content, []
    try:
        calls = [json.loads(piece) for piece in re.findall(r"<tool_call>\n([^\n]*)\n</tool_call>", found[1])]
    except ValueError:
        return content, []
    before = content[: found.start()]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return content, []
    again = [*([before] if before else []), *(TOOL.format(json.dumps(call, ensure_ascii=False)) for call in calls)]
    return (before, calls) if "\n".join(again) == content else (content, [])


def read_tools(value: Any) -> tuple[ToolSpec, ...]:
    """The tools that a conversation offers: OpenAI's or Anthropic's list, or that as JSON. Raises RowError for what
    is none."""
    if isinstance(value, str):
        value = _loads(value, "tools") if value.strip() else []
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError(f"tools is {type(value).__name__}, expected a list", "tools")
    out = []
    for place, item in enumerate(value, 1):
        inner = item.get("function", item) if isinstance(item, Mapping) else {}
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise RowError(f"tool {place} has no name, expected name, description and parameters", "tools")
        schema: Any = next((inner[key] for key in ("parameters", "input_schema", "arguments") if inner.get(key)), {})
        if not isinstance(schema, Mapping):
            raise RowError(
                f"the parameters of tool {place} are {type(schema).__name__}, expected a JSON schema", "tools"
            )
        out.append(ToolSpec(inner["name"], text(inner.get("description"), f"description of tool {place}"), schema))
    return tuple(out)


# ---------------------------------------------------------------- writing


def write_tools(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Tools in OpenAI's form."""
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": dict(t.schema)}}
        for t in tools
    ]


def write_openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns with role and content; calls of tools, their results and weights as OpenAI has them."""
    turns: list[dict[str, Any]] = []
    waiting: list[str] = []
    count = 0
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "assistant":
            said, calls = split_calls(message.content)
            if calls and all(isinstance(call.get("arguments", {}), dict) for call in calls):
                waiting = [f"call_{count + number}" for number in range(1, len(calls) + 1)]
                count += len(calls)
                turn = {"role": "assistant", "content": said or None, "tool_calls": [
                    {"id": id, "type": "function", "function": {
                        "name": call["name"],
                        **({"arguments": json.dumps(call["arguments"], ensure_ascii=False)} if "arguments" in call else {}),
                    }}
                    for id, call in zip(waiting, calls, strict=True)
                ]}  # fmt: skip
            if not message.learn:
                turn["weight"] = 0
        elif message.role == "tool" and waiting:
            turn["tool_call_id"] = waiting.pop(0)
        turns.append(turn)
    return turns


def write_sharegpt(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns with from and value; a turn that only calls tools is from ``function_call``."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"from": SHAREGPT[message.role], "value": message.content}
        if message.role == "assistant":
            said, calls = split_calls(message.content)
            if calls and not said:
                value = calls[0] if len(calls) == 1 else calls
                turn = {"from": "function_call", "value": json.dumps(value, ensure_ascii=False)}
            if not message.learn:
                turn["weight"] = 0
        turns.append(turn)
    return turns
