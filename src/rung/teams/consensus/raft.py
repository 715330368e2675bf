"""Raft (Ongaro and Ousterhout 2014): a leader a term, a log that the majority has, over crashes, loss and
partitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.teams.consensus.network import Automaton, Faults, Schedule, Simulator

NAME = "raft"
BEAT, PATIENCE = 40.0, 150.0
LENGTH = 2000.0
PROPOSALS = 6


def tolerates(n: int, faults: Faults) -> str:
    """Why these faults are more than it is made for; nothing where they are not."""
    if faults.lie:
        return "it is made for members that crash, not for members that lie"
    return ""


class RaftMember(Automaton):
    """Stable: ``term``, ``voted``, ``log`` of (term, value). Positions in the log begin at 1."""

    def start(self) -> None:
        self.stable.setdefault("term", 0)
        self.stable.setdefault("voted", None)
        self.stable.setdefault("log", [])
        self.role, self.commit, self.votes = "follower", 0, set[int]()
        self.next: dict[int, int] = {}
        self.match: dict[int, int] = {}
        self._turn = 0
        self._wait()

    @property
    def log(self) -> list[tuple[int, Any]]:
        log: list[tuple[int, Any]] = self.stable["log"]
        return log

    def _wait(self) -> None:
        """Stand for election unless a leader is heard of in time."""
        self._turn += 1
        self.wake_in(self.draw.uniform(PATIENCE, 2 * PATIENCE), f"election {self._turn}")

    def _follow(self, term: int) -> None:
        if term > self.stable["term"]:
            self.stable |= {"term": term, "voted": None}
        self.role = "follower"

    def wake(self, name: str) -> None:
        if name == "beat":
            if self.role == "leader":
                self._replicate()
                self.wake_in(BEAT, "beat")
        elif name == f"election {self._turn}" and self.role != "leader":
            self.stable |= {"term": self.stable["term"] + 1, "voted": self.id}
            self.role, self.votes = "candidate", {self.id}
            last = self.log[-1][0] if self.log else 0
            self.send_all(kind="ask", term=self.stable["term"], size=len(self.log), last=last)
            self._wait()
            self._count()

    def propose(self, value: Any) -> None:
        """A client's value, taken by a leader alone."""
        if self.role == "leader":
            self.log.append((self.stable["term"], value))
            self._advance()
            self._replicate()

    def receive(self, sender: int, message: Mapping[str, Any]) -> None:
        if message["term"] > self.stable["term"]:
            self._follow(message["term"])
        getattr(self, f"_{message['kind']}")(sender, message)

    def _ask(self, sender: int, message: Mapping[str, Any]) -> None:
        last = self.log[-1][0] if self.log else 0
        newer = (message["last"], message["size"]) >= (last, len(self.log))
        given = message["term"] == self.stable["term"] and self.stable["voted"] in (None, sender) and newer
        if given:
            self.stable["voted"] = sender
            self._wait()
        self.send(sender, kind="vote", term=self.stable["term"], given=given)

    def _vote(self, sender: int, message: Mapping[str, Any]) -> None:
        if self.role == "candidate" and message["term"] == self.stable["term"] and message["given"]:
            self.votes.add(sender)
            self._count()

    def _count(self) -> None:
        if self.role == "candidate" and 2 * len(self.votes) > self.n:
            self.role = "leader"
            self.tell("leader", self.stable["term"])
            self.next = {at: len(self.log) for at in range(self.n)}
            self.match = dict.fromkeys(range(self.n), 0)
            self.log.append((self.stable["term"], None))  # so that what earlier terms left is committed too
            self._advance()
            self._replicate()
            self.wake_in(BEAT, "beat")

    def _replicate(self) -> None:
        for to in range(self.n):
            if to != self.id:
                at = self.next[to]
                self.send(
                    to, kind="append", term=self.stable["term"], at=at, last=self.log[at - 1][0] if at else 0,
                    entries=tuple(self.log[at : at + 20]), commit=self.commit,
                )  # fmt: skip

    def _append(self, sender: int, message: Mapping[str, Any]) -> None:
        if message["term"] < self.stable["term"]:
            self.send(sender, kind="appended", term=self.stable["term"], good=False, match=0)
            return
        self.role = "follower"
        self._wait()
        at = message["at"]
        if at > len(self.log) or (at and self.log[at - 1][0] != message["last"]):
            self.send(sender, kind="appended", term=self.stable["term"], good=False, match=min(at - 1, len(self.log)))
            return
        for offset, entry in enumerate(message["entries"]):
            if at + offset < len(self.log) and self.log[at + offset][0] != entry[0]:
                del self.log[at + offset :]
            if at + offset >= len(self.log):
                self.log.append(entry)
        match = at + len(message["entries"])
        self._committed(min(message["commit"], match))
        self.send(sender, kind="appended", term=self.stable["term"], good=True, match=match)

    def _appended(self, sender: int, message: Mapping[str, Any]) -> None:
        if self.role != "leader" or message["term"] != self.stable["term"]:
            return
        if message["good"]:
            self.match[sender] = max(self.match[sender], message["match"])
            self.next[sender] = max(self.next[sender], message["match"])
            self._advance()
        else:
            self.next[sender] = max(0, min(self.next[sender] - 1, message["match"]))

    def _advance(self) -> None:
        """What a majority has, and is of this term, is committed."""
        self.match[self.id] = len(self.log)
        at = sorted(self.match.values(), reverse=True)[self.n // 2]
        if at > self.commit and self.log[at - 1][0] == self.stable["term"]:
            self._committed(at)

    def _committed(self, to: int) -> None:
        while self.commit < to:
            self.commit += 1
            self.tell("commit", (self.commit, self.log[self.commit - 1]))


def one(n: int, faults: Faults, seed: int, member: type[RaftMember] = RaftMember) -> Schedule:
    """One schedule, with clients that propose values now and then."""
    network = Simulator(n, lambda id, stable, draw: member(id, n, stable, draw), faults, seed, length=LENGTH)
    for at in range(PROPOSALS):

        def propose(value: str = f"value {at}") -> None:
            for each in range(n):
                network.tell(each, lambda each=each: network.members[each].propose(value))  # type: ignore[attr-defined,misc]

        network.at(network.draw.uniform(200, LENGTH * 0.8), propose)
    network.run()
    up = [at for at in range(n) if at not in network.down]
    values = [value for _, (_, (_, value)) in network.said("commit") if value is not None]
    return Schedule(tuple(broken(network)), bool(values) or 2 * len(up) <= n, network.messages)


def broken(network: Simulator) -> list[str]:
    """Which of Raft's promises were not kept."""
    found = []
    leaders: dict[int, int] = {}
    for id, term in network.said("leader"):
        if leaders.setdefault(term, id) != id:
            found.append("two leaders in one term")
    kept: dict[int, Any] = {}
    for _, (at, entry) in network.said("commit"):
        if kept.setdefault(at, entry) != entry:
            found.append("two entries committed at one place")
    logs = [member.stable.get("log", []) for member in network.members]
    for at, entry in kept.items():
        have = sum(len(log) >= at and log[at - 1] == entry for log in logs)
        if 2 * have <= network.n:
            found.append("a committed entry is gone")
    for one_log in logs:
        for other in logs:
            for at in range(min(len(one_log), len(other)) - 1, -1, -1):
                if one_log[at][0] == other[at][0]:
                    if one_log[: at + 1] != other[: at + 1]:
                        found.append("equal terms at one place, other entries before")
                    break
    return sorted(set(found))
