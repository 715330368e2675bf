"""Tools by their words alone: the baseline that says what a model adds to choosing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.calls.call import callable_tools
from rung.agents.calls.seen import Source, narrow
from rung.agents.calls.shortlist import lexical
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.staged import sources
from rung.core.types import ToolSpec


@dataclass(frozen=True)
class Lexical:
    """Calls each tool at most once: those that change nothing first, then the one whose name and description share most
    with what was read (BM25). An argument that must have been seen is the value seen last; texts are what was read
    last."""

    name: ClassVar[str] = "lexical"

    async def decide(self, view: View) -> Decision:
        seen = sources(view)
        called = {call.tool for turn in view.turns for call in turn.calls}
        open_ = [tool for tool in callable_tools(view.tools, seen) if tool.name not in called]
        looks = [tool for tool in open_ if tool.schema.get("x-effect") == "pure"]
        tools = looks or open_
        text = "\n".join(words for where, words in seen if where != "percept")
        scores = lexical(text, tools)
        if not tools or max(scores) <= 0:
            return finish(view.last_result, "no tool shares a word with what was read")
        tool = tools[max(range(len(tools)), key=lambda at: scores[at])]
        return Decision((Call(tool.name, _arguments(tool, seen)),), thought=f"{tool.name} shares most words")

    async def conclude(self, view: View) -> Any:
        """The last result."""
        return view.last_result


def _arguments(tool: ToolSpec, seen: list[Source]) -> dict[str, Any]:
    narrowed = narrow(tool.schema, seen) or tool.schema
    properties: Mapping[str, Any] = narrowed.get("properties", {})
    last = [text for where, text in seen if where != "percept"][-1]
    return {name: _value(properties[name], last) for name in tool.schema.get("required", ())}


def _value(schema: Mapping[str, Any], text: str) -> Any:
    if "enum" in schema:
        named = [value for value in schema["enum"] if str(value).casefold() in text.casefold()]
        return (named or list(schema["enum"]))[-1]
    kind = schema.get("type", "string")
    if kind == "string":
        return text[: schema.get("maxLength", 500)]
    return {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}.get(str(kind), text)
