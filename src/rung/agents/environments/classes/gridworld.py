"""A walled grid, seen one square at a time.

The goal lies in the south-east corner unless ``moved``; the request names it. ``mud`` is a share of squares that cost
five steps and look like any other: nobody knows where it lies but who has been there. With ``map`` all scenarios share
one map, and differ in where they begin.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from typing import Any, Literal, Self

from rung.agents.environments.environment import Judgement, Observation, number, numbers
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

Square = tuple[int, int]

WAYS: Mapping[str, Square] = {"east": (1, 0), "south": (0, 1), "west": (-1, 0), "north": (0, -1)}
MUD = 5.0
"""What a step into mud costs; any other costs 1."""
PRIZE = 20.0
"""What the goal is worth."""
_MOVE = ToolSpec(
    "move",
    "Go one square.",
    {
        "type": "object",
        "properties": {"to": {"type": "string", "enum": list(WAYS)}},
        "required": ["to"],
        "additionalProperties": False,
    },
)


def _step(at: Square, way: str) -> Square:
    return at[0] + WAYS[way][0], at[1] + WAYS[way][1]


class Gridworld:
    """A grid of ``size`` by ``size`` squares with a share of ``walls``."""

    name = "gridworld"

    def __init__(
        self, *, size: int = 8, walls: float = 0.2, mud: float = 0.0, moved: bool = False, map: int | None = None
    ) -> None:
        if not 2 <= size <= 100 or not 0 <= walls <= 0.6 or not 0 <= mud <= 0.9:
            raise InputError(
                f"gridworld: got size {size}, walls {walls}, mud {mud}",
                remedy="expected size 2 to 100, walls 0 to 0.6, mud 0 to 0.9",
            )
        self.size, self.walls, self.mud, self.moved, self.map = size, walls, mud, moved, map
        self._free: frozenset[Square] = frozenset()
        self._muddy: frozenset[Square] = frozenset()
        self._goal: Square = (0, 0)
        self._at: Square = (0, 0)
        self._begin: Square = (0, 0)

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        return numbers(split, count)

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        given = number(scenario, self.name)
        draw = random.Random(f"gridworld {given if self.map is None else f'map {self.map}'}")
        size, corner = self.size, (self.size - 1, self.size - 1)
        while True:  # until the goal can be reached from the beginning
            free = {(x, y) for x in range(size) for y in range(size) if draw.random() >= self.walls} | {corner}
            reach = sorted(_distances(corner, free))
            if len(reach) > size * size // 3:
                break
        self._free = frozenset(reach)
        self._muddy = frozenset(square for square in reach if draw.random() < self.mud and square != corner)
        if self.map is not None:
            draw = random.Random(f"gridworld {given}")
        self._goal = draw.choice(reach) if self.moved else corner
        far = _distances(self._goal, self._free)
        self._begin = self._at = draw.choice([square for square in reach if far[square] >= size // 2] or reach)
        shown = self._show()
        text = (
            f"Go to column {self._goal[0]}, row {self._goal[1]}; column 0, row 0 is the north-west corner. {shown.text}"
        )
        return Observation(text, shown.value)

    def _show(self, reward: float = 0.0) -> Observation:
        open = [way for way in WAYS if _step(self._at, way) in self._free]
        done = self._at == self._goal
        text = f"You are at column {self._at[0]}, row {self._at[1]}. Open: {', '.join(open) or 'nothing'}."
        value = {"at": list(self._at), "open": open, "goal": list(self._goal), "done": done, "size": self.size}
        return Observation(text + (" This is the goal." if done else ""), value, reward, done)

    def tools(self) -> Sequence[ToolSpec]:
        return (_MOVE,)

    def step(self, call: Call) -> Observation:
        to = _step(self._at, call.arguments["to"])
        if to not in self._free:
            return Observation(
                f"There is a wall to the {call.arguments['to']}.", self._show().value, -1.0, refused=True
            )
        self._at = to
        reward = (PRIZE if to == self._goal else 0.0) - (MUD if to in self._muddy else 1.0)
        return self._show(reward)

    def fork(self) -> Self:
        return copy(self)  # what changes is replaced, never changed in place

    def state(self) -> Any:
        return list(self._at)

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        there = self._at == self._goal
        return Judgement(there, () if there else (f"the agent is at {list(self._at)}, not at the goal",))

    def oracle(self) -> list[Call]:
        far, at, calls = _distances(self._goal, self._free), self._begin, []
        while at != self._goal:
            way = min((way for way in WAYS if _step(at, way) in far), key=lambda way: far[_step(at, way)])
            at = _step(at, way)
            calls.append(Call("move", {"to": way}))
        return calls

    def domain(self) -> GridDomain:
        return GridDomain()


def _distances(start: Square, free: Any) -> dict[Square, int]:
    found, waiting = {start: 0}, deque([start])
    while waiting:
        at = waiting.popleft()
        for way in WAYS:
            to = _step(at, way)
            if to not in found and to in free:
                found[to] = found[at] + 1
                waiting.append(to)
    return found


class GridDomain:
    """What is known of grids: the goal is usually in the south-east; squares and walls stay where they are.

    A belief is {at, goal, size, walls, seen: times that each square was stood on}.
    """

    def react(self, percept: Any) -> Call | None:
        if percept["done"]:
            return None
        way = next((way for way in WAYS if way in percept["open"]), None)
        return Call("move", {"to": way}) if way else None

    def believe(self, belief: Any, call: Call | None, percept: Any) -> Any:
        at = (percept["at"][0], percept["at"][1])
        known = belief or {"walls": frozenset(), "seen": {}}
        walls = known["walls"] | {_step(at, way) for way in WAYS if way not in percept["open"]}
        seen = {**known["seen"], at: known["seen"].get(at, 0) + 1}
        return {"at": at, "goal": tuple(percept["goal"]), "size": percept["size"], "walls": walls, "seen": seen}

    def explore(self, belief: Any) -> Call | None:
        open = [way for way in WAYS if _step(belief["at"], way) not in belief["walls"]]
        if not open or self.reached({**belief, "goal": (belief["size"] - 1, belief["size"] - 1)}):
            return None
        # The square that was stood on least, of equal ones the first in the reflex's order.
        return Call("move", {"to": min(open, key=lambda way: belief["seen"].get(_step(belief["at"], way), 0))})

    def options(self, belief: Any) -> list[Call]:
        return [Call("move", {"to": way}) for way in WAYS if _step(belief["at"], way) not in belief["walls"]]

    def predict(self, belief: Any, call: Call) -> list[tuple[float, Any]]:
        to = _step(belief["at"], call.arguments["to"])
        return [(1.0, belief if to in belief["walls"] else {**belief, "at": to})]

    def reached(self, belief: Any) -> bool:
        return bool(belief["at"] == belief["goal"])

    def worth(self, belief: Any) -> float:
        """Minus the way that is left, over squares not known to be walls."""
        size, walls = belief["size"], belief["walls"]
        free = {(x, y) for x in range(size) for y in range(size)} - walls
        return -float(_distances(belief["goal"], free).get(belief["at"], size * size))

    def key(self, belief: Any) -> Hashable:
        return tuple(belief["at"])

    def features(self, percept: Any) -> str:
        return f"{percept['at']} {percept['goal']}"
