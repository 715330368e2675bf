"""Simple reflex: what is seen now decides, by rules; nothing that was seen before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rung.agents.loop.move import Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.choice import domain_of


@dataclass(frozen=True)
class Reflex:
    """Condition-action rules of the environment's domain on the last percept."""

    name: ClassVar[str] = "reflex"

    async def decide(self, view: View) -> Decision:
        call = domain_of(view, self.name).react(view.percept)
        return (
            finish(because="no rule applies") if call is None else Decision((call,), thought="a rule fits what is seen")
        )
