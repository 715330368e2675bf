"""Goal-based: search for calls after which the goal is reached, as far as is known, and make the first of them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

from rung.agents.environments.environment import Domain
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.choice import belief, domain_of


@dataclass(frozen=True)
class Goal:
    """Best-first search (A*, the worth as minus the distance left) over what the domain predicts, ``nodes`` at most;
    what may happen counts as if it did. Plans anew whenever the last plan's next step does not lead from what is
    believed now."""

    name: ClassVar[str] = "goal"

    nodes: int = 2000

    async def decide(self, view: View) -> Decision:
        domain = domain_of(view, self.name)
        now = belief(view, domain)
        if domain.reached(now):
            return finish(because="the goal is reached")
        calls = self.search(domain, now)
        if not calls:
            return finish(because="no way to the goal is known")
        return Decision((calls[0],), thought=f"the first of {len(calls)} steps to the goal")

    def search(self, domain: Domain, begin: Any) -> list[Call]:
        """Calls that lead to the goal as far as is known; none: there is no way within ``nodes``, or nothing to do."""
        order = count()
        waiting: list[tuple[float, int, int, Any, tuple[Call, ...]]] = [(0.0, 0, next(order), begin, ())]
        seen = {domain.key(begin)}
        for _ in range(self.nodes):
            if not waiting:
                return []
            _, depth, _, at, calls = heapq.heappop(waiting)
            if domain.reached(at):
                return list(calls)
            for call in domain.options(at):
                for chance, after in domain.predict(at, call):
                    if chance > 0 and (key := domain.key(after)) not in seen:
                        seen.add(key)
                        cost = depth + 1 - domain.worth(after)
                        heapq.heappush(waiting, (cost, depth + 1, next(order), after, (*calls, call)))
        return []
