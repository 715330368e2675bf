"""Choices under risk: each option is a lottery whose prizes and chances are told. One is taken; that is all."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from copy import copy
from typing import Any, Literal, Self

from rung.agents.environments.environment import Judgement, Observation, number, numbers
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

_TAKE = ToolSpec(
    "take",
    "Take an option.",
    {
        "type": "object",
        "properties": {"option": {"type": "string"}},
        "required": ["option"],
        "additionalProperties": False,
    },
)


class Lotteries:
    """``options`` to choose from. Solved is the option with the largest expected prize; the reward is the prize
    drawn."""

    name = "lotteries"

    def __init__(self, *, options: int = 3) -> None:
        if not 2 <= options <= 26:
            raise InputError(f"lotteries: got {options} options", remedy="expected 2 to 26")
        self.options = options
        self._lots: dict[str, list[tuple[float, float]]] = {}
        self._luck, self._taken, self._prize = 0.0, "", 0.0

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        return numbers(split, count)

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        draw = random.Random(f"lotteries {number(scenario, self.name)}")
        self._lots = {}
        for at in range(self.options):
            chances = [draw.uniform(0.05, 1) for _ in range(draw.randint(1, 3))]
            total = sum(chances)
            parts = [round(chance / total, 3) for chance in chances[:-1]]
            parts.append(round(1 - sum(parts), 3))
            self._lots[chr(ord("A") + at)] = [(part, float(round(draw.uniform(-20, 100)))) for part in parts]
        self._luck = random.Random(f"luck {scenario} {seed}").random()
        self._taken, self._prize = "", 0.0
        told = "; ".join(
            f"{name}: " + ", ".join(f"{chance:.1%} for {prize:g}" for chance, prize in lot)
            for name, lot in self._lots.items()
        )
        return Observation(f"Take one option. {told}.", self._value())

    def _value(self) -> Any:
        return {"lots": {name: [list(pair) for pair in lot] for name, lot in self._lots.items()}, "taken": self._taken}

    def tools(self) -> Sequence[ToolSpec]:
        return (_TAKE,)

    def step(self, call: Call) -> Observation:
        name = call.arguments["option"]
        if self._taken or name not in self._lots:
            known = ", ".join(self._lots)
            return Observation(
                f"There is no option {name!r} to take; there were {known}.", refused=True, done=bool(self._taken)
            )
        left = self._luck
        for chance, prize in self._lots[name]:
            self._prize = prize
            left -= chance
            if left < 0:
                break
        self._taken = name
        return Observation(f"You took {name} and got {self._prize:g}.", self._value(), self._prize, done=True)

    def fork(self) -> Self:
        return copy(self)

    def state(self) -> Any:
        return [self._taken, self._prize]

    def _mean(self, name: str) -> float:
        return sum(chance * prize for chance, prize in self._lots[name])

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        best = max(self._lots, key=self._mean)
        solved = bool(self._taken) and self._mean(self._taken) >= self._mean(best) - 1e-9
        return Judgement(solved, () if solved else (f"took {self._taken or 'nothing'}, {best} is worth more",))

    def oracle(self) -> list[Call]:
        return [Call("take", {"option": max(self._lots, key=self._mean)})]

    def domain(self) -> LotteryDomain:
        return LotteryDomain()


class LotteryDomain:
    """What is known: the chances as they are told. A belief is {lots, taken, prize}."""

    def react(self, percept: Any) -> Call | None:
        return None if percept["taken"] else Call("take", {"option": min(percept["lots"])})

    def believe(self, belief: Any, call: Call | None, percept: Any) -> Any:
        return {"lots": percept["lots"], "taken": percept["taken"], "prize": 0.0}

    def explore(self, belief: Any) -> Call | None:
        return self.react(belief)

    def options(self, belief: Any) -> list[Call]:
        return [] if belief["taken"] else [Call("take", {"option": name}) for name in belief["lots"]]

    def predict(self, belief: Any, call: Call) -> list[tuple[float, Any]]:
        name = call.arguments["option"]
        return [(chance, {**belief, "taken": name, "prize": prize}) for chance, prize in belief["lots"][name]]

    def reached(self, belief: Any) -> bool:
        return bool(belief["taken"]) and belief["prize"] >= max(p for lot in belief["lots"].values() for _, p in lot)

    def worth(self, belief: Any) -> float:
        return float(belief["prize"])

    def key(self, belief: Any) -> Hashable:
        return belief["taken"], belief["prize"]

    def features(self, percept: Any) -> str:
        return "taken" if percept["taken"] else "open"
