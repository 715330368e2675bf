"""A plan: steps that call tools and name the steps they need. Checked before anything is done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from rung.agents.loop.move import Call
from rung.core.types import ToolSpec

_REFERENCE = re.compile(r"\$\{([\w-]+)\}")
STEPS = 50


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One call of a plan. ``${ID}`` in a text argument stands for what step ID gave, which makes it needed."""

    id: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def all_needs(self) -> set[str]:
        texts = [value for value in self.arguments.values() if isinstance(value, str)]
        return {*self.needs, *(name for text in texts for name in _REFERENCE.findall(text))}

    def call(self, results: Mapping[str, str], complaint: Callable[[Call], str] = lambda call: "") -> Call:
        """The call, with what earlier steps gave in its place: as text, and where ``complaint`` refuses that and an
        argument is one reference and no more, as the number, list or other JSON value that the text is."""
        called = self._filled(results, lambda text: text)
        if not complaint(called):
            return called
        typed = self._filled(results, _value)
        return called if complaint(typed) else typed

    def _filled(self, results: Mapping[str, str], read: Callable[[str], Any]) -> Call:
        arguments = dict(self.arguments)
        for name, value in self.arguments.items():
            if not isinstance(value, str):
                continue
            whole = _REFERENCE.fullmatch(value)
            arguments[name] = (
                read(results[whole[1]])
                if whole and whole[1] in results
                else _REFERENCE.sub(lambda found: results.get(found[1], found[0]), value)
            )
        return Call(self.tool, arguments)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_plan(value: Any) -> tuple[PlanStep, ...]:
    """The steps of {steps: [{id, tool, arguments, needs}]}. Raises ValueError for anything else."""
    steps = value.get("steps") if isinstance(value, Mapping) else value
    if not isinstance(steps, list) or not 0 < len(steps) <= STEPS:
        raise ValueError(f"a plan is a list of 1 to {STEPS} steps")
    out = []
    for at, step in enumerate(steps, 1):
        if not isinstance(step, Mapping) or not isinstance(step.get("tool"), str):
            raise ValueError(f"step {at} names no tool")
        arguments, needs = step.get("arguments") or {}, step.get("needs") or []
        if not isinstance(arguments, Mapping) or not isinstance(needs, list):
            raise ValueError(f"step {at}: arguments are an object and needs a list")
        out.append(PlanStep(str(step.get("id") or at), step["tool"], dict(arguments), tuple(map(str, needs))))
    return tuple(out)


def write_plan(steps: Sequence[PlanStep]) -> list[dict[str, Any]]:
    return [
        {"id": step.id, "tool": step.tool, "arguments": dict(step.arguments), "needs": sorted(step.all_needs)}
        for step in steps
    ]


def mistakes(steps: Sequence[PlanStep], complaint: Callable[[Call], str]) -> list[str]:
    """Why a plan cannot be done: an id twice, a need that is no step, a circle, a tool or arguments that there are not
    (arguments that wait for another step's result are checked when it is there)."""
    ids = [step.id for step in steps]
    found = [f"step {name} is there twice" for name in sorted({name for name in ids if ids.count(name) > 1})]
    found += [
        f"step {step.id} needs {need}, which is no step" for step in steps for need in sorted(step.all_needs - set(ids))
    ]
    if not found:
        try:
            TopologicalSorter({step.id: step.all_needs for step in steps}).prepare()
        except CycleError as error:
            found.append(f"the steps need each other in a circle: {' -> '.join(error.args[1])}")
    for step in steps:
        if not any(_REFERENCE.search(value) for value in step.arguments.values() if isinstance(value, str)) and (
            said := complaint(Call(step.tool, step.arguments))
        ):
            found.append(f"step {step.id}: {said}")
    return found


def ready(steps: Sequence[PlanStep], results: Mapping[str, str]) -> list[PlanStep]:
    """The steps that have no result yet and all of whose needs have one."""
    return [step for step in steps if step.id not in results and step.all_needs <= results.keys()]


def schema(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """The JSON schema of a plan with these tools."""
    text = {"type": "string"}
    step = {
        "type": "object",
        "properties": {
            "id": text,
            "tool": {"type": "string", "enum": [tool.name for tool in tools]},
            "arguments": {"type": "object"},
            "needs": {"type": "array", "items": text},
        },
        "required": ["id", "tool", "arguments", "needs"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step, "minItems": 1, "maxItems": 12}},
        "required": ["steps"],
        "additionalProperties": False,
    }
