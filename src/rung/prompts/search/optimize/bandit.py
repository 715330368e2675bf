"""Which source of proposals is asked next: a bandit (UCB1; Auer et al. 2002)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

STAY = 0.35
"""Weight of what a source has yet to show against what it has shown."""


class Bandit:
    """What each source has shown: how often it was asked and the sum of its rewards (0.5 is "as good as the best")."""

    def __init__(self, names: Iterable[str]) -> None:
        self.asked = dict.fromkeys(names, 0)
        self.reward = dict.fromkeys(self.asked, 0.0)

    def choose(self, names: Iterable[str], now: Mapping[str, int]) -> str:
        """The source of ``names`` with the highest upper bound. What has not been asked comes first, in its order;
        picks of this step (``now``, by source) count at once, as if they were as good as the best."""
        order = list(self.asked)
        total = 1 + sum(self.asked.values()) + sum(now.values())

        def bound(name: str) -> float:
            picked = now.get(name, 0)
            if not (n := self.asked[name] + picked):
                return 1e6 - order.index(name)
            return (self.reward[name] + 0.5 * picked) / n + STAY * math.sqrt(math.log(total) / n)

        return max(names, key=bound)

    def learn(self, name: str, gain: float) -> None:
        self.asked[name] += 1
        self.reward[name] += min(1.0, max(0.0, 0.5 + gain))
