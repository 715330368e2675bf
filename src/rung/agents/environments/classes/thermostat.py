"""A room to be kept warm by a heater that is switched, while the weather changes and the thermometer fails now and
then."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from copy import copy
from typing import Any, Literal, Self

from rung.agents.environments.environment import Judgement, Observation, number, numbers
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

LOW, HIGH = 19.0, 22.0
HEAT = 1.2
"""Degrees that an hour of heating adds."""
LOSS = 0.1
"""The share of the difference to outside that is lost in an hour."""
ENOUGH = 0.8
"""The share of hours within the band that solves a scenario."""
_SET = ToolSpec(
    "heat",
    "Switch the heater for the next hour.",
    {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    },
)


class Thermostat:
    """``hours`` to go; the thermometer shows nothing in a share of ``blind`` of them."""

    name = "thermostat"

    def __init__(self, *, hours: int = 24, blind: float = 0.4) -> None:
        if not 1 <= hours <= 1000 or not 0 <= blind <= 1:
            raise InputError(f"thermostat: got hours {hours}, blind {blind}", remedy="expected 1 to 1000, and 0 to 1")
        self.hours, self.blind = hours, blind
        self._outside: tuple[float, ...] = ()
        self._shown: tuple[bool, ...] = ()
        self._hour, self._good, self._room, self._begin = 0, 0, 0.0, 0.0

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        return numbers(split, count)

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        draw = random.Random(f"thermostat {number(scenario, self.name)}")
        base = draw.uniform(9, 15)
        self._outside = tuple(round(base + draw.gauss(0, 1.5), 2) for _ in range(self.hours))
        self._shown = tuple(draw.random() >= self.blind for _ in range(self.hours))
        self._hour, self._good = 0, 0
        self._room = self._begin = round(draw.uniform(18.5, 21.5), 2)
        shown = self._show()
        return Observation(
            f"Keep the room between {LOW:g} and {HIGH:g} degrees for {self.hours} hours. {shown.text}", shown.value
        )

    def _show(self, reward: float = 0.0) -> Observation:
        over = self._hour >= self.hours
        seen = self._room if over or self._shown[self._hour] or self._hour == 0 else None
        text = f"Hour {self._hour}: " + ("the thermometer shows nothing." if seen is None else f"{seen:g} degrees.")
        return Observation(text, {"hour": self._hour, "degrees": seen, "over": over}, reward, done=over)

    def tools(self) -> Sequence[ToolSpec]:
        return (_SET,)

    def step(self, call: Call) -> Observation:
        if self._hour >= self.hours:
            return Observation("The hours are over.", refused=True, done=True)
        heat = HEAT if call.arguments["on"] else 0.0
        self._room = round(self._room + heat - LOSS * (self._room - self._outside[self._hour]), 2)
        self._hour += 1
        good = LOW <= self._room <= HIGH
        self._good += good
        return self._show(float(good))

    def fork(self) -> Self:
        return copy(self)

    def state(self) -> Any:
        return [self._hour, self._good, self._room]

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        solved = self._hour >= self.hours and self._good >= ENOUGH * self.hours
        return Judgement(solved, () if solved else (f"{self._good} of {self.hours} hours were within the band",))

    def oracle(self) -> list[Call]:
        room, calls, middle = self._begin, [], (LOW + HIGH) / 2
        for outside in self._outside:
            after = [room + heat - LOSS * (room - outside) for heat in (0.0, HEAT)]
            on = abs(after[1] - middle) < abs(after[0] - middle)
            room = after[on]
            calls.append(Call("heat", {"on": on}))
        return calls

    def domain(self) -> ThermostatDomain:
        return ThermostatDomain()


class ThermostatDomain:
    """What is known: how heating and loss work, and that it is about 12 degrees outside. A belief is {degrees,
    over}."""

    def react(self, percept: Any) -> Call | None:
        if percept["over"]:
            return None
        return Call("heat", {"on": percept["degrees"] is not None and percept["degrees"] < (LOW + HIGH) / 2})

    def believe(self, belief: Any, call: Call | None, percept: Any) -> Any:
        degrees = percept["degrees"]
        if degrees is None:
            degrees = self.predict(belief, call)[0][1]["degrees"] if call is not None else (LOW + HIGH) / 2
        return {"degrees": degrees, "over": percept["over"]}

    def explore(self, belief: Any) -> Call | None:
        return self.react(belief)

    def options(self, belief: Any) -> list[Call]:
        return [] if belief["over"] else [Call("heat", {"on": on}) for on in (False, True)]

    def predict(self, belief: Any, call: Call) -> list[tuple[float, Any]]:
        room = belief["degrees"]
        return [(1.0, {**belief, "degrees": room + (HEAT if call.arguments["on"] else 0.0) - LOSS * (room - 12.0)})]

    def reached(self, belief: Any) -> bool:
        return bool(belief["over"])

    def worth(self, belief: Any) -> float:
        return -abs(float(belief["degrees"]) - (LOW + HIGH) / 2)

    def key(self, belief: Any) -> Hashable:
        return round(belief["degrees"], 1), belief["over"]

    def features(self, percept: Any) -> str:
        return "blind" if percept["degrees"] is None else str(round(percept["degrees"]))
