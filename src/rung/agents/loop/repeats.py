"""Does the agent go round in circles? What is the same is judged by call, observation and the environment's state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SAME = 3
"""Times that one call with one outcome in one state is no loop yet."""
PERIOD = 4
"""The longest round that is looked for."""
STALE = 6
"""Steps that show nothing new."""
NEAR = 4
"""Calls of one tool in a row with nearly the same long arguments."""


@dataclass(slots=True)
class Repeats:
    """Is told of every finished call; ``found`` says in which way the episode repeats itself, or nothing."""

    seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    recent: list[tuple[str, str, str]] = field(default_factory=list)
    news: set[tuple[str, str]] = field(default_factory=set)
    stale: int = 0
    found: str = ""

    def add(self, call: str, outcome: str, state: str, *, volatile: bool = False) -> None:
        """A call (tool and arguments), what came back, and the state after it. ``volatile``: to ask the same again is
        no loop."""
        self.found = ""
        if volatile:
            self.recent.clear()
            self.stale = 0
            return
        what = (call, outcome, state)
        self.seen[what] += 1
        self.recent.append(what)
        del self.recent[: -4 * PERIOD]
        self.stale = self.stale + 1 if (outcome, state) in self.news else 0
        self.news.add((outcome, state))
        if self.seen[what] >= SAME:
            self.found = "the same call gave the same result three times"
        elif self._rounds():
            self.found = "the same few calls come round again and again"
        elif self.stale >= STALE:
            self.found = f"{STALE} steps have shown nothing new"
        elif self._near():
            self.found = f"{NEAR} calls in a row were nearly the same"

    def _rounds(self) -> bool:
        recent = self.recent
        return any(
            len(recent) >= 2 * period and recent[-period:] == recent[-2 * period : -period]
            for period in range(2, PERIOD + 1)
        )

    def _near(self) -> bool:
        last = [call for call, _, _ in self.recent[-NEAR:]]
        if len(last) < NEAR or len(last[-1]) < 40 or len({call.partition(" ")[0] for call in last}) > 1:
            return False
        parts = [{call[at : at + 4] for at in range(len(call) - 3)} for call in last]
        return all(
            len(one & parts[-1]) >= 0.9 * len(one | parts[-1]) for one in parts[:-1]
        )  # Jaccard similarity of character 4-grams
