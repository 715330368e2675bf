"""Utility-based: the call whose outcomes are worth most on average, with a taste for risk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from rung.agents.loop.move import Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.choice import belief, domain_of
from rung.core.errors import InputError


@dataclass(frozen=True)
class Utility:
    """Maximises the expected utility of what the domain predicts for one call. ``risk`` is constant absolute risk
    aversion in units of 1/100 (Pratt 1964): 0 takes worth as it is, above shuns risk, below seeks it."""

    name: ClassVar[str] = "utility"

    risk: float = 0.0

    def __post_init__(self) -> None:
        if not -20 <= self.risk <= 20:
            raise InputError(f"got risk {self.risk}, expected -20 to 20", remedy="write risk: 1")

    def utility(self, worth: float) -> float:
        return worth if self.risk == 0 else (1 - math.exp(min(700.0, -self.risk * worth / 100))) / self.risk * 100

    async def decide(self, view: View) -> Decision:
        domain = domain_of(view, self.name)
        now = belief(view, domain)
        options = domain.options(now)
        if not options or domain.reached(now):
            return finish(because="nothing better can be done")
        worth = [
            sum(chance * self.utility(domain.worth(after)) for chance, after in domain.predict(now, call))
            for call in options
        ]
        best = max(range(len(options)), key=worth.__getitem__)
        return Decision((options[best],), thought=f"expected utility {worth[best]:.4g}")
