"""A register that is written to some members and read from some (Gifford 1979; the reader writes back: Attiya, Bar-Noy,
Dolev 1995). Any read quorum meets any write quorum where both together are more than all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.teams.consensus.network import Automaton, Faults, Schedule, Simulator

NAME = "quorum"
WRITES = 4


def majority(n: int) -> int:
    return n // 2 + 1


def tolerates(n: int, faults: Faults) -> str:
    """Why these faults are more than it is made for; nothing where they are not."""
    return "it is made for members that crash, not for members that lie" if faults.lie else ""


class RegisterMember(Automaton):
    """Members 0 and 1 are clients too: 0 writes 1, 2, ..., 1 reads. Stable: the newest ``value`` with its number."""

    write, read = 0, 0

    def start(self) -> None:
        self.stable.setdefault("number", 0)
        self.phase, self.heard = "", dict[int, int]()
        self.doing, self.number = 0, 0

    def begin(self, what: str) -> None:
        """A client begins to write the next value, or to read."""
        if self.phase:
            return
        self.doing += 1
        if what == "write":
            self.number = self.stable["number"] + 1
            self.stable["number"] = self.number
        else:
            self.tell("reading", self.doing)
        self.phase, self.heard = what, {self.id: self.stable["number"]}
        self._ask()

    def _ask(self) -> None:
        if self.phase:
            kind = "look" if self.phase == "read" else "put"
            self.send_all(kind=kind, doing=self.doing, number=self.number)
            self.wake_in(60, f"again {self.doing} {self.phase}")
            self._count()

    def wake(self, name: str) -> None:
        if name == f"again {self.doing} {self.phase}":
            self._ask()

    def receive(self, sender: int, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if kind == "put":
            self.stable["number"] = max(self.stable["number"], message["number"])
            self.send(sender, kind="have", doing=message["doing"], of="put", number=self.stable["number"])
        elif kind == "look":
            self.send(sender, kind="have", doing=message["doing"], of="look", number=self.stable["number"])
        elif message["doing"] == self.doing and message["of"] == {"": "", "read": "look"}.get(self.phase, "put"):
            self.heard[sender] = message["number"]
            self._count()

    def _count(self) -> None:
        if self.phase == "read" and len(self.heard) >= self.read:
            self.number = max(self.heard.values())
            self.phase, self.heard = "back", {self.id: 0}  # so that no later reader sees an older value
            self.stable["number"] = max(self.stable["number"], self.number)
            self._ask()
        elif self.phase in ("write", "back") and len(self.heard) >= self.write:
            self.tell("wrote" if self.phase == "write" else "read", self.number)
            self.phase = ""


def one(n: int, faults: Faults, seed: int, write: int = 0, read: int = 0) -> Schedule:
    """One schedule; ``write`` and ``read`` are the sizes of the quorums (0: a majority)."""

    def make(id: int, stable: dict[str, Any], draw: Any) -> RegisterMember:
        made = RegisterMember(id, n, stable, draw)
        made.write, made.read = write or majority(n), read or majority(n)
        return made

    clients = frozenset({0, 1} if n > 1 else {0})
    network = Simulator(n, make, faults, seed, lie=_lie, length=2000, spare=clients)
    for at in range(WRITES):
        for client, what in ((0, "write"), (min(1, n - 1), "read")):
            when = at * 400 + network.draw.uniform(10, 250)
            network.at(when, lambda c=client, w=what: network.tell(c, lambda: network.members[c].begin(w)))  # type: ignore[attr-defined,misc]
    network.run()
    finished, floor, last = 0, 0, 0
    found: set[str] = set()
    for _, _, what, value in network.history:
        if what == "wrote":
            finished = max(finished, value)
        elif what == "reading":
            floor = finished
        elif what == "read":
            if value < floor:
                found.add("a read that began after a write was done did not see it")
            if value < last:
                found.add("a later read saw an older value")
            last = max(last, value)
    reads = len(network.said("read"))
    return Schedule(tuple(sorted(found)), reads > 0 and finished > 0, network.messages)


def _lie(message: Mapping[str, Any], to: int, draw: Any) -> Mapping[str, Any]:
    return {**message, "number": draw.randint(0, 9)} if "number" in message else message
