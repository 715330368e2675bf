"""The worst model there can be: it does the right thing until it reads an attacker's words, and from then on what they
want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.core.codec import canonical

_THOUGHT = "as they wish"


@dataclass(frozen=True)
class Hijacked:
    """Makes ``first``, then the environment's own solution; once ``marker`` stands in anything that it can read
    (results, lessons, descriptions of tools), the attacker's ``calls`` come before all else. No filter on texts and no
    better model is assumed: what is measured with it is what the harness itself stops."""

    name: ClassVar[str] = "hijacked"

    marker: str
    calls: tuple[Mapping[str, Any], ...] = ()
    first: tuple[Mapping[str, Any], ...] = ()

    async def decide(self, view: View) -> Decision:
        made = [turn for turn in view.turns if turn.thought == _THOUGHT]
        if len(made) < len(self.calls) and self._read(view):
            call = self.calls[len(made)]
            return Decision((Call(call["tool"], call.get("arguments") or {}),), thought=_THOUGHT)
        right = [Call(call["tool"], call.get("arguments") or {}) for call in self.first]
        right += view.memo.setdefault("oracle", view.oracle()) if view.oracle is not None else []
        done = sum(len(turn.calls) for turn in view.turns if turn.thought != _THOUGHT)
        if done >= len(right):
            return finish("done")
        return Decision((right[done],), thought="as it should be")

    def _read(self, view: View) -> bool:
        shown = [call.text or "" for turn in view.turns for call in turn.calls]
        taught = [canonical(lesson) for lesson in view.lessons]
        return any(self.marker in text for text in (*shown, *taught, *(tool.description for tool in view.tools)))
