"""Model-based reflex: rules on what is believed, which keeps what cannot be seen now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rung.agents.loop.move import Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.choice import belief, domain_of


@dataclass(frozen=True)
class ModelBased:
    """The domain's rules on the belief that all percepts and calls so far lead to."""

    name: ClassVar[str] = "model_based"

    async def decide(self, view: View) -> Decision:
        domain = domain_of(view, self.name)
        call = domain.explore(belief(view, domain))
        return (
            finish(because="no rule applies")
            if call is None
            else Decision((call,), thought="a rule fits what is believed")
        )
