"""Two-phase commit (Gray 1978): all do it or none does. A coordinator that stays away leaves those that have promised
waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.teams.consensus.network import Automaton, Faults, Schedule, Simulator

NAME = "two-phase"
PATIENCE = 120.0


def tolerates(n: int, faults: Faults) -> str:
    """Why these faults are more than it is made for; nothing where they are not."""
    return "it is made for members that crash and come back, not for members that lie" if faults.lie else ""


class TwoPhaseMember(Automaton):
    """Member 0 coordinates. Stable: what was ``voted`` and what was ``decided``."""

    def start(self) -> None:
        self.yes: set[int] = set()
        self.wish = self.stable.setdefault("wish", self.draw.random() < 0.9)
        if self.id == 0:
            if "decided" not in self.stable and self.stable.get("asked"):
                self._decide("abort")  # it came back and had decided nothing
            self.stable["asked"] = True
        self.wake("again")

    def wake(self, name: str) -> None:
        """Ask, or ask what became of it, again and again: messages may be lost."""
        if self.id == 0 and name == "over":
            if "decided" not in self.stable:
                self._decide("abort")
            return
        if self.id == 0:
            decided = self.stable.get("decided")
            self.send_all(kind="prepare" if decided is None else decided)
            if decided is None and not self.yes:
                self.wake_in(PATIENCE, "over")
        elif self.stable.get("voted") == "yes" and "decided" not in self.stable:
            self.send(0, kind="what")
        self.wake_in(40, "again")

    def receive(self, sender: int, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        if self.id == 0:
            if kind == "yes":
                self.yes.add(sender)
                if len(self.yes) == self.n - 1 and "decided" not in self.stable:
                    self._decide("commit" if self.wish else "abort")
            elif kind == "no" and "decided" not in self.stable:
                self._decide("abort")
            elif kind == "what" and "decided" in self.stable:
                self.send(sender, kind=self.stable["decided"])
        elif kind == "prepare":
            vote = self.stable.setdefault("voted", "yes" if self.wish else "no")
            if vote == "no":
                self._settle("abort")
            self.send(0, kind=vote)
        elif kind in ("commit", "abort"):
            self._settle(kind)

    def _decide(self, what: str) -> None:
        self._settle(what)
        self.send_all(kind=what)

    def _settle(self, what: str) -> None:
        if self.stable.setdefault("decided", what) == what:
            self.tell("decided", what)


def one(n: int, faults: Faults, seed: int) -> Schedule:
    """One schedule."""
    network = Simulator(
        n, lambda id, stable, draw: TwoPhaseMember(id, n, stable, draw), faults, seed, lie=_lie, length=2000
    )
    honest = [at for at in range(n) if at not in network.liars]
    network.run(lambda: all("decided" in network.members[at].stable for at in honest))
    decided = {at: value for at, value in network.said("decided") if at in honest}
    up = [at for at in honest if at not in network.down]
    found = []
    if len(set(decided.values())) > 1:
        found.append("some have done it and some have not")
    if "commit" in decided.values() and not all(network.members[at].stable["wish"] for at in honest):
        found.append("it was done though one did not want to")
    return Schedule(tuple(found), all(at in decided for at in up), network.messages)


def _lie(message: Mapping[str, Any], to: int, draw: Any) -> Mapping[str, Any]:
    swapped = {"yes": "no", "no": "yes", "commit": "abort", "abort": "commit"}
    return {**message, "kind": swapped.get(message["kind"], message["kind"])} if draw.random() < 0.5 else message
