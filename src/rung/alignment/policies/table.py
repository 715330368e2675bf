"""A table of logits, a row a state: the policy whose return and gradient can be computed exactly. It plays any
environment of agents whose states can be listed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rung.agents.environments.environment import Environment, Observation
from rung.agents.loop.move import Call
from rung.alignment.policies.policy import Batch, Trajectory
from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.types import ToolSpec

if TYPE_CHECKING:
    import torch

MOST = 10_000
"""States that a table has at most."""


class TablePolicy:
    """Softmax over ``actions`` in each of ``states``; all alike at first. Computed in float64."""

    def __init__(self, states: int, actions: int) -> None:
        import torch

        self.shape = (states, actions)
        self.vector = torch.zeros(states * actions, dtype=torch.float64)
        self.grad = torch.zeros_like(self.vector)

    @property
    def width(self) -> int:
        return self.shape[0]

    def set(self, vector: torch.Tensor) -> None:
        self.vector.copy_(vector)

    @property
    def logits(self) -> torch.Tensor:
        """Shape (states, actions)."""
        return self.vector.view(self.shape)

    def states(self, batch: Batch) -> torch.Tensor:
        return self.logits[self._at(batch)].clone()

    def judge(self, states: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        logs = torch.log_softmax(states, 1)
        taken = torch.tensor([action for one in batch for action in one.actions])
        return logs.gather(1, taken[:, None])[:, 0], -(logs.exp() * logs).sum(1)

    def apart(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        import torch

        mine, theirs = torch.log_softmax(one, 1), torch.log_softmax(other, 1)
        return (mine.exp() * (mine - theirs)).sum(1)

    def features(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        import torch

        return torch.nn.functional.one_hot(self._at(batch), self.shape[0]).double()

    def push(self, batch: Batch, coefficients: torch.Tensor) -> None:
        """The gradient of log softmax: one at the action, less all probabilities."""
        import torch

        at = self._at(batch)
        taken = torch.tensor([action for one in batch for action in one.actions])
        slope = -torch.softmax(self.logits[at], 1)
        slope[torch.arange(len(at)), taken] += 1
        self.grad.view(self.shape).index_add_(0, at, slope * coefficients[:, None])

    def scores(self, batch: Batch) -> torch.Tensor:
        import torch

        rows = []
        for one in batch:
            self.grad.zero_()
            self.push([one], torch.ones(len(one.actions), dtype=self.grad.dtype))
            rows.append(self.grad.clone())
        self.grad.zero_()
        return torch.stack(rows)

    @staticmethod
    def _at(batch: Batch) -> torch.Tensor:
        import torch

        return torch.tensor([state for one in batch for state in one.context])


@dataclass(frozen=True)
class ListedWorld:
    """An environment whose states and calls are listed: ``places`` by what is seen, ``calls`` in the order of the
    table's columns."""

    environment: Environment
    places: Mapping[str, int]
    calls: Sequence[Call]

    def place(self, seen: Observation) -> int:
        return self.places[_key(self.environment, seen.value)]

    def play(self, policy: TablePolicy, scenario: str, seed: int, limit: int) -> Trajectory:
        """One episode of at most ``limit`` moves, drawn from the table. ``group`` is 0: who plays several of a kind
        numbers them."""
        import torch

        draw = torch.Generator().manual_seed(seed)
        odds = torch.softmax(policy.logits, 1)
        seen = self.environment.reset(scenario)
        context: list[int] = []
        actions: list[int] = []
        rewards: list[float] = []
        while not seen.done and len(actions) < limit:
            context.append(self.place(seen))
            actions.append(int(torch.multinomial(odds[context[-1]], 1, generator=draw)))
            seen = self.environment.step(self.calls[actions[-1]])
            rewards.append(seen.reward)
        solved = float(self.environment.judge(None).solved)
        return Trajectory(
            0, tuple(context), tuple(actions), tuple(rewards), {"solved": solved}, scenario, cut=not seen.done
        )


def survey(environment: Environment, scenarios: Sequence[str]) -> ListedWorld:
    """List the states that can be reached from ``scenarios``, and the calls. Raises InputError where there are more
    than MOST, or a tool takes something that cannot be listed."""
    calls = list_calls(environment.tools())
    places: dict[str, int] = {}
    for scenario in scenarios:
        waiting, met = deque([(environment.reset(scenario), environment.fork())]), set[str]()
        while waiting:
            seen, here = waiting.popleft()
            key = _key(environment, seen.value)
            if key in met or seen.done:
                continue
            met.add(key)
            places.setdefault(key, len(places))
            if len(places) > MOST:
                raise InputError(
                    f"{environment.name} has more than {MOST:,} states, too many for a table",
                    remedy="give fewer scenarios, or a smaller environment",
                )
            for call in calls:
                there = here.fork()
                waiting.append((there.step(call), there))
    if not places:
        raise InputError(f"{environment.name}: there is nothing to do in its scenarios", remedy="give others")
    return ListedWorld(environment, places, calls)


def _key(environment: Environment, percept: Any) -> str:
    domain = environment.domain()
    return domain.features(percept) if domain is not None else canonical(percept)


def list_calls(tools: Sequence[ToolSpec]) -> list[Call]:
    """All calls of tools whose arguments take listed values. Raises InputError for others."""
    return [call for tool in tools for call in _calls(tool.name, tool.schema)]


def _calls(tool: str, schema: Mapping[str, Any]) -> list[Call]:
    fields = schema.get("properties", {})
    if any("enum" not in field for field in fields.values()):
        raise InputError(
            f"the tool {tool} takes arguments that cannot be listed, so there is no table of its calls",
            remedy="choose an environment whose tools take one of a few values, such as gridworld",
        )
    values = product(*(field["enum"] for field in fields.values()))
    return [Call(tool, dict(zip(fields, chosen, strict=True))) for chosen in values]
