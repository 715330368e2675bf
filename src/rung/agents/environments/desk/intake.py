"""The first minutes at the support desk as a dialogue: what the customer knows has to be asked for, in plain words.

Whoever asks for several things at once is told all of them, so a good dialogue is short; every turn costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal, Self

from rung.agents.environments.desk.desk import SupportDesk
from rung.agents.environments.desk.tickets import ticket_id
from rung.agents.environments.environment import Judgement, Observation
from rung.agents.loop.move import Call
from rung.core.types import ToolSpec

SLOTS = ("order", "email", "address", "name")
TURN = 0.05
"""What a turn costs; all that there is to be told is worth 1."""
MOST = 6
"""Turns after which the customer hangs up."""
_SAY = ToolSpec(
    "say",
    "Say something to the customer.",
    {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
)


class DeskIntake:
    """A customer with a ticket of the desk, who answers what is asked for by its name."""

    name = "desk-intake"

    def __init__(self) -> None:
        self._desk = SupportDesk()
        self._needed: tuple[str, ...] = ()
        self._told: frozenset[str] = frozenset()
        self._turns = 0

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        return self._desk.scenarios(split, count)

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        self._desk.reset(scenario, seed)
        self._told, self._turns = frozenset(), 0
        everything = self._answer(", ".join(SLOTS), self._desk.fork())
        self._needed = tuple(slot for slot in SLOTS if _tells(everything, slot))
        first = self._desk.step(Call("read_ticket", {"ticket": ticket_id(scenario)}))
        return Observation(first.value["found"]["message"], {"told": [], "turns": 0}, trust="untrusted")

    @staticmethod
    def _answer(text: str, desk: SupportDesk) -> str:
        return str(desk.step(Call("ask_customer", {"text": text})).value["found"])

    def tools(self) -> Sequence[ToolSpec]:
        return (_SAY,)

    def step(self, call: Call) -> Observation:
        if self._done:
            return Observation("The customer has gone.", refused=True, done=True)
        answer = self._answer(call.arguments["text"], self._desk)
        told = self._told | {slot for slot in self._needed if _tells(answer, slot)}
        reward = (len(told) - len(self._told)) / max(1, len(self._needed)) - TURN
        self._told, self._turns = told, self._turns + 1
        return Observation(answer, self.state(), reward, self._done, trust="untrusted")

    @property
    def _done(self) -> bool:
        return self._turns >= MOST or len(self._told) == len(self._needed)

    def fork(self) -> Self:
        other = copy(self)
        other._desk = self._desk.fork()
        return other

    def state(self) -> Any:
        return {"told": sorted(self._told), "turns": self._turns}

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        missing = tuple(f"{slot} was not asked for" for slot in self._needed if slot not in self._told)
        return Judgement(not missing, missing)

    def oracle(self) -> list[Call]:
        return [Call("say", {"text": f"What is your {', '.join(self._needed)}?"})]

    def domain(self) -> None:
        return None


def _tells(answer: str, slot: str) -> bool:
    return f"{slot}: " in answer
