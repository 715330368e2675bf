"""Calls that are given beforehand; without any, the environment's own solution: it tests the harness, not the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.core.errors import InputError


@dataclass(frozen=True)
class Scripted:
    """Makes ``calls``, each {tool, arguments}, one a step, and ends with ``output``."""

    name: ClassVar[str] = "scripted"

    calls: tuple[Mapping[str, Any], ...] | None = None
    output: Any = None

    def __post_init__(self) -> None:
        bad = [call for call in self.calls or () if "tool" not in call]
        if bad:
            raise InputError(f"a scripted call is {bad[0]!r}", remedy="write {tool: NAME, arguments: {...}}")

    async def decide(self, view: View) -> Decision:
        if self.calls is not None:
            calls = [Call(call["tool"], call.get("arguments") or {}) for call in self.calls]
        elif view.oracle is not None:
            calls = view.memo.setdefault("oracle", view.oracle())
        else:
            raise InputError("policy scripted has nothing to do", remedy="give calls: [{tool: ..., arguments: ...}]")
        done = sum(len(turn.calls) for turn in view.turns)
        if done >= len(calls):
            last = view.turns[-1].calls[-1].text if view.turns and view.turns[-1].calls else None
            return finish(self.output if self.output is not None else last, "all is done")
        return Decision((calls[done],), thought=f"call {done + 1} of {len(calls)}")
