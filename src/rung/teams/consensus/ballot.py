"""Votes that are sent to everybody, and counted by each after a while: majority, weighted, ranked, quorum (see
``tally``)."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from rung.core.codec import canonical
from rung.teams.consensus.network import SLOW, Automaton, Faults, Schedule, Simulator
from rung.teams.consensus.tally import Rule, tally

VALUES = ("right", "wrong")


def tolerates(n: int, faults: Faults) -> str:
    """Why these faults are more than it is made for; nothing where they are not."""
    if faults.drop or faults.partition:
        return (
            "it is made for a network in which every message comes: over one that loses some, members count differently"
        )
    if faults.crash:
        return "a member that crashes while it sends has told some its vote and not others"
    if n <= 2 * faults.lie:
        return f"{faults.lie} liars need {2 * faults.lie + 1} members, that the honest are more"
    return ""


class BallotMember(Automaton):
    """Sends its vote once, and counts what has come when all must have."""

    rule: Rule = "majority"

    def start(self) -> None:
        if self.stable.get("over"):
            return
        self.votes = {str(self.id): self.stable["vote"]}
        self.send_all(vote=self.stable["vote"])
        self.wake_in(2 * SLOW, "count")

    def receive(self, sender: int, message: Mapping[str, Any]) -> None:
        if not self.stable.get("over"):
            self.votes.setdefault(str(sender), message["vote"])

    def wake(self, name: str) -> None:
        self.stable["over"] = True
        votes = {str(at): self.votes.get(str(at)) for at in range(self.n)}
        self.tell("decided", tally(votes, self.rule).value)


def one(n: int, faults: Faults, seed: int, rule: Rule = "majority") -> Schedule:
    """One schedule in which all honest members vote alike: they must decide so. (Where they do not vote alike, a liar
    who tells each something else can split them whatever their number: see ``byzantine``.)"""
    vote: Any = list(VALUES) if rule == "ranked" else VALUES[0]

    def make(id: int, stable: dict[str, Any], draw: random.Random) -> BallotMember:
        stable.setdefault("vote", vote)
        made = BallotMember(id, n, stable, draw)
        made.rule = rule
        return made

    def lie(message: Mapping[str, Any], to: int, draw: random.Random) -> Mapping[str, Any]:
        return {"vote": list(reversed(VALUES)) if rule == "ranked" else VALUES[1]}

    network = Simulator(n, make, faults, seed, lie=lie, length=200)
    honest = [at for at in range(n) if at not in network.liars]
    network.run()
    decided = {at: value for at, value in network.said("decided") if at in honest}
    found = []
    if any(value != VALUES[0] for value in decided.values()):
        found.append("honest members that all voted alike decided otherwise")
    if len({canonical(value) for value in decided.values()}) > 1:
        found.append("honest members decided differently")
    up = [at for at in honest if at not in network.down]
    return Schedule(tuple(found), all(at in decided for at in up), network.messages)
