"""Repair code by search: change one token after the other until the examples pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.environments.code.mutations import mutations
from rung.agents.loop.move import Decision, act, finish
from rung.agents.loop.view import View
from rung.core.errors import InputError


@dataclass(frozen=True)
class Repair:
    """Generate and validate (see ``environments.code.mutations``): runs the code that it is given, then every change of
    one token, and hands in the first that passes the examples; the unchanged code after ``tries`` runs. ``tries`` 0:
    hands it in as it is."""

    name: ClassVar[str] = "repair"

    tries: int = 40

    async def decide(self, view: View) -> Decision:
        first: Any = view.turns[0].percept if view.turns else view.percept
        code = first.get("code") if isinstance(first, dict) else None
        if not code:
            raise InputError("policy repair has nothing to repair", remedy="write environment: code-repair:FILE")
        runs = [call for turn in view.turns for call in turn.calls if call.tool == "run_code"]
        if any(call.tool == "submit" for turn in view.turns for call in turn.calls):
            return finish()
        if self.tries and not runs:
            return act("run_code", code=code, because="does it fail?")
        candidates = view.memo.setdefault("mutations", mutations(code))
        if not self.tries or self._passed(view):
            done = candidates[len(runs) - 2] if len(runs) > 1 else None
            return act("submit", code=done.code if done else code, because=str(done) if done else "it passes as it is")
        if len(runs) > min(self.tries, len(candidates)):
            return act("submit", code=code, because="no change of one token passes the examples")
        return act("run_code", code=candidates[len(runs) - 1].code, because=str(candidates[len(runs) - 1]))

    @staticmethod
    def _passed(view: View) -> bool:
        return isinstance(view.percept, dict) and bool(view.percept.get("passed"))
