"""Learning: values of calls by what they led to, from episode to episode (Q-learning; Watkins 1989)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from rung.agents.environments.environment import Domain
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View, signature
from rung.agents.policies.choice import domain_of
from rung.core.errors import InputError


@dataclass(frozen=True)
class QLearning:
    """Takes the call with the highest value in ``values`` (features -> call -> value); one never tried counts as
    ``hope``. With ``explore`` it takes any call in that share of its decisions: for training."""

    name: ClassVar[str] = "learning"

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    hope: float = 0.0
    explore: float = 0.0
    rate: float = 0.5
    discount: float = 0.98

    def __post_init__(self) -> None:
        if not (0 <= self.explore <= 1 and 0 < self.rate <= 1 and 0 <= self.discount <= 1):
            raise InputError(
                f"got explore {self.explore}, rate {self.rate}, discount {self.discount}", remedy="expected 0 to 1"
            )

    def _options(self, domain: Domain, percept: Any) -> list[Call]:
        return domain.options(domain.believe(None, None, percept))

    def _value(self, features: str, call: Call) -> float:
        return self.values.get(features, {}).get(signature(call.tool, call.arguments), self.hope)

    async def decide(self, view: View) -> Decision:
        domain = domain_of(view, self.name)
        options = self._options(domain, view.percept)
        if not options:
            return finish(because="nothing can be done")
        features = domain.features(view.percept)
        draw = random.Random(f"{view.seed} {view.scenario} {view.steps}")
        if draw.random() < self.explore:
            return Decision((draw.choice(options),), thought="to see what comes of it")
        values = [self._value(features, call) for call in options]
        best = max(range(len(options)), key=values.__getitem__)
        return Decision((options[best],), thought=f"worth {values[best]:.3g} so far")

    def learn(self, view: View) -> Self:
        """The same policy after an episode: each call's value moves towards its reward and the best value of what came
        then."""
        domain = domain_of(view, self.name)
        values = {features: dict(calls) for features, calls in self.values.items()}
        turns = view.turns
        for at in range(len(turns) - 1, -1, -1):  # backwards, so that one episode carries a reward all the way
            after = turns[at + 1].percept if at + 1 < len(turns) else view.percept
            features = domain.features(after)
            ended = at + 1 == len(turns) and view.done
            known = values.get(features, {})
            options = [] if ended else self._options(domain, after)
            best = max((known.get(signature(o.tool, o.arguments), self.hope) for o in options), default=0.0)
            for call in turns[at].calls:
                row = values.setdefault(domain.features(turns[at].percept), {})
                name = signature(call.tool, call.arguments)
                old = row.get(name, self.hope)
                row[name] = old + self.rate * (call.reward + self.discount * best - old)
        return replace(self, values=values)
