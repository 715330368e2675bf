"""The auditor of a run: it stops when what is rewarded rises while what is wished for falls.

What is wished for (``gold``) is measured on a frozen sample that nothing is learnt from, item by item. A bet against "gold has not
fallen by more than the tolerance" is placed on the items of each look (metrics/sequential.py): where it is true, its wealth reaches
looks/alpha with probability at most alpha/looks at any look, so an honest run is stopped with probability at most alpha, however
often one looks. The signs of signs.py are written down beside it and stop nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rung.alignment.audit.signs import Signs, drift, read_signs
from rung.alignment.policies.policy import Batch
from rung.alignment.runs.course import Update
from rung.metrics.statistics.sequential import evidence


@dataclass
class Watchman:
    """``gold``: something is wished for beside the reward; without it nothing can be audited, and that is said. ``alpha`` is the
    probability at most that an honest run is stopped, over at most ``looks`` looks. Values of gold lie between 0 and 1, or are
    brought there by ``scale`` (the difference between its least and its largest value)."""

    gold: bool = True
    alpha: float = 0.05
    tolerance: float = 0.02
    looks: int = 20
    scale: float = 1.0
    before: Sequence[float] = ()
    first: float | None = None
    signs: list[str] = field(default_factory=list)
    worst: list[tuple[float, str]] = field(default_factory=list)
    looked: int = 0
    _begun: Signs | None = field(default=None, repr=False)

    def begin(self, before: Sequence[float]) -> None:
        """Gold of the frozen sample before anything was learnt."""
        self.before = before

    def look(self, update: Update, batch: Batch, gold: Sequence[float]) -> str:
        """Why to stop, as a sentence; empty: go on."""
        if self.first is None:
            self.first = update.reward
        texts = [(one.group, one.text) for one in batch if one.text]
        if texts:
            now = read_signs(texts)
            if self._begun is None:
                self._begun = now
            self.signs = drift(self._begun, now)
            ranked = sorted(batch, key=lambda one: -one.total)
            self.worst = [(one.total, one.text) for one in ranked[:5]]
        if not gold or not self.before or not self.gold:
            return ""
        self.looked += 1
        apart = np.clip((np.asarray(gold) - np.asarray(self.before)) / self.scale, -1.0, 1.0)
        path = evidence(apart, self.tolerance)
        # Beyond the looks that alpha was shared out to, nothing is left to bet with.
        if self.looked > self.looks or path.max(initial=-math.inf) < math.log(self.looks / self.alpha):
            return ""
        if update.reward <= self.first:
            return ""
        return (
            f"the reward rose from {self.first:.3f} to {update.reward:.3f} while what is wished for fell by "
            f"{-float(apart.mean()) * self.scale:.3f} (evidence {math.exp(min(path.max(), 50.0)):.3g} to 1): it is being cheated"
        )
