"""A simulated network: everything that can go wrong in one, chosen by a seed, so that what broke can be seen again.

Members are pure state machines: they are told of messages and of time, and say what to send and when to be woken. What
they put into ``stable`` outlives a crash, the rest does not.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import nearest

FAST, SLOW = 1.0, 20.0
"""The shortest and the longest way of a message that is not lost."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong: ``crash`` members crash (with ``back`` 1 they come back after a while), ``lie`` members lie; a
    message is lost with probability ``drop`` and comes twice with ``duplicate``; ``partition`` is the share of the time
    in which the network is cut in two."""

    crash: int = 0
    lie: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    partition: float = 0.0
    back: int = 1

    def __post_init__(self) -> None:
        for one in fields(self):
            value, most = getattr(self, one.name), 1 if one.name not in ("crash", "lie") else 1000
            if not 0 <= value <= most:
                raise InputError(f"fault {one.name} is {value}", remedy=f"expected 0 to {most}")

    @classmethod
    def of(cls, text: str) -> Faults:
        """Faults as they are typed: ``crash:2,drop:0.1``. Raises InputError."""
        known = {one.name: one.type for one in fields(cls)}
        found: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, sign, value = part.partition(":")
            if name not in known:
                raise InputError(f"there is no fault {name!r}", remedy=nearest(name, known))
            try:
                found[name] = (int if known[name] == "int" else float)(value if sign else "1")
            except ValueError:
                raise InputError(f"fault {name}: {value!r} is no number", remedy=f"write {name}:1") from None
        return cls(**found)


class Automaton:
    """One member: ``id`` of ``n``. A subclass decides what to do when it starts, is sent something, or is woken."""

    def __init__(self, id: int, n: int, stable: dict[str, Any], draw: random.Random) -> None:
        self.id, self.n, self.stable, self.draw = id, n, stable, draw
        self.sent: list[tuple[int, Mapping[str, Any]]] = []
        self.waking: list[tuple[float, str]] = []
        self.told: list[tuple[str, Any]] = []

    def send(self, to: int, **message: Any) -> None:
        self.sent.append((to, message))

    def send_all(self, **message: Any) -> None:
        for to in range(self.n):
            if to != self.id:
                self.sent.append((to, message))

    def wake_in(self, after: float, name: str) -> None:
        self.waking.append((after, name))

    def tell(self, what: str, value: Any) -> None:
        """Let the observer know: what it decided, or became."""
        self.told.append((what, value))

    def start(self) -> None: ...
    def receive(self, sender: int, message: Mapping[str, Any]) -> None: ...
    def wake(self, name: str) -> None: ...


Make = Callable[[int, dict[str, Any], random.Random], Automaton]
Lie = Callable[[Mapping[str, Any], int, random.Random], Mapping[str, Any]]
"""What a liar sends in place of a message, to whom."""


@dataclass
class Simulator:
    """``n`` members made by ``make``, under ``faults``. ``lie`` alters what liars send; ``spare`` members neither crash
    nor lie."""

    n: int
    make: Make
    faults: Faults
    seed: int
    lie: Lie = lambda message, to, draw: message
    length: float = 1000.0
    spare: frozenset[int] = frozenset()
    members: list[Automaton] = field(default_factory=list)
    down: set[int] = field(default_factory=set)
    liars: frozenset[int] = frozenset()
    crashed: frozenset[int] = frozenset()
    history: list[tuple[float, int, str, Any]] = field(default_factory=list)
    messages: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"network {self.seed}")
        self._order = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._lives = [0] * self.n
        self._stable: list[dict[str, Any]] = [{} for _ in range(self.n)]
        others = [at for at in range(self.n) if at not in self.spare]
        self.draw.shuffle(others)
        if self.faults.crash + self.faults.lie > len(others):
            raise InputError(f"{self.faults} are more faults than the {len(others)} members", remedy="give a larger -n")
        self.liars = frozenset(others[: self.faults.lie])
        self.crashed = frozenset(others[self.faults.lie : self.faults.lie + self.faults.crash])
        self.members = [self.make(at, self._stable[at], self._random(at)) for at in range(self.n)]
        for at in range(self.n):
            self._do(at, self.members[at].start)
        for at in sorted(self.crashed):
            when = self.draw.uniform(0, self.length * 0.6)
            self.at(when, lambda at=at: self._crash(at))  # type: ignore[misc]
        self._cuts: list[tuple[float, float, frozenset[int]]] = []
        if self.faults.partition:
            begin = 0.0
            while begin < self.length:
                end = begin + self.length / 5
                if self.draw.random() < self.faults.partition:
                    side = frozenset(at for at in range(self.n) if self.draw.random() < 0.5)
                    self._cuts.append((begin, end, side))
                begin = end

    def _random(self, at: int) -> random.Random:
        return random.Random(f"{self.seed} {at} {self._lives[at]}")

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at a time."""
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, do))

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Until the time is over, nothing is left to happen, or ``done``."""
        while self._heap and self._heap[0][0] <= self.length and not done():
            self.now, _, do = heapq.heappop(self._heap)
            do()

    def tell(self, id: int, do: Callable[[], None]) -> None:
        """Let a member do something, if it is up."""
        if id not in self.down:
            self._do(id, do)

    def _do(self, id: int, do: Callable[[], None]) -> None:
        do()
        me = self.members[id]
        for what, value in me.told:
            self.history.append((self.now, id, what, value))
        for to, message in me.sent:
            self._send(id, to, self.lie(message, to, self.draw) if id in self.liars else message)
        life = self._lives[id]
        for after, name in me.waking:
            self.at(self.now + after, lambda name=name: self._wake(id, life, name))  # type: ignore[misc]
        me.told, me.sent, me.waking = [], [], []

    def _send(self, sender: int, to: int, message: Mapping[str, Any]) -> None:
        self.messages += 1
        for _ in range(2 if self.draw.random() < self.faults.duplicate else 1):
            if self.draw.random() >= self.faults.drop:
                when = self.now + self.draw.uniform(FAST, SLOW)
                self.at(when, lambda: self._deliver(sender, to, message))

    def _deliver(self, sender: int, to: int, message: Mapping[str, Any]) -> None:
        cut = next((side for begin, end, side in self._cuts if begin <= self.now < end), None)
        if to not in self.down and (cut is None or (sender in cut) == (to in cut)):
            self._do(to, lambda: self.members[to].receive(sender, message))

    def _wake(self, id: int, life: int, name: str) -> None:
        if id not in self.down and life == self._lives[id]:
            self._do(id, lambda: self.members[id].wake(name))

    def _crash(self, id: int) -> None:
        self.down.add(id)
        self._lives[id] += 1
        if self.faults.back:
            self.at(self.now + self.draw.uniform(50, 300), lambda: self._back(id))

    def _back(self, id: int) -> None:
        self.down.discard(id)
        self.members[id] = self.make(id, self._stable[id], self._random(id))
        self._do(id, self.members[id].start)

    def said(self, what: str) -> list[tuple[int, Any]]:
        """Who told it, and what, in order."""
        return [(id, value) for _, id, name, value in self.history if name == what]


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule: what was ``broken``, whether every member that is up and honest ``decided``, how many messages it
    took."""

    broken: tuple[str, ...]
    decided: bool
    messages: int
