"""A router: the request decides once which of several policies works on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rung.agents.loop.move import AgentPolicy, Concluding, Decision
from rung.agents.loop.view import View
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.text.pattern import compile_pattern, slashed
from rung.core.types import Message, ScoreRequest

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Router:
    """``routes`` are the policies by name, ``when`` what each is for: a regular expression between slashes, or words. A
    route whose expression is found in the request is taken; else the model scores the routes, where there is one; else
    the one that shares most words with the request is, of equal ones the first."""

    name: ClassVar[str] = "router"

    routes: Mapping[str, AgentPolicy] = field(default_factory=dict)
    when: Mapping[str, str] = field(default_factory=dict)
    model: Model | None = None

    def __post_init__(self) -> None:
        if not self.routes:
            raise InputError("a router has no routes", remedy="write routes: {NAME: POLICY, ...}")
        unknown = sorted(set(self.when) - set(self.routes))
        if unknown:
            raise InputError(f"when: {unknown[0]!r} is no route", remedy=f"routes: {', '.join(self.routes)}")
        for about in self.when.values():
            if pattern := slashed(about):
                compile_pattern(pattern)

    async def decide(self, view: View) -> Decision:
        taken = await self._route(view)
        move = await self.routes[taken].decide(view)
        return replace(move, thought=f"[{taken}] {move.thought}".strip())

    async def conclude(self, view: View) -> Any:
        inner = self.routes[await self._route(view)]
        return await inner.conclude(view) if isinstance(inner, Concluding) else None

    async def _route(self, view: View) -> str:
        if "route" not in view.memo:
            for turn in view.turns:  # decided before: it stands in the first thought
                if (known := turn.thought[1:].partition("]")[0]) in self.routes:
                    view.memo["route"] = known
                    return known
            view.memo["route"] = await self._choose(view.request)
        return str(view.memo["route"])

    async def _choose(self, request: str) -> str:
        for name in self.routes:
            pattern = slashed(self.when.get(name, ""))
            if pattern and compile_pattern(pattern).search(request):
                return name
        names = tuple(self.routes)
        if self.model is not None and self.model.capabilities.score:
            about = "\n".join(f"{name}: {self.when.get(name, '')}" for name in names)
            said = (Message("user", f"Who should do this?\n{about}\n\nRequest: {request}\n\nAnswer with one name."),)
            return names[(await self.model.score([ScoreRequest(said, names)]))[0].best]
        words = set(_WORD.findall(request.casefold()))
        return max(
            names, key=lambda name: len(words & set(_WORD.findall(f"{name} {self.when.get(name, '')}".casefold())))
        )
