"""Drift of what is asked or answered: an alarm whose rate of false alarms is known however long one watches.

Each new text is ranked by how strange it is (the mean cosine distance to its nearest texts of one half of the
reference) among the other half and all texts that came before it: ranks among a fixed set would not be independent, and
its own luck would raise the alarm in time. As long as new texts come from where the reference came from, in any order,
the ranks are uniform, and a bet against that is a test martingale (Vovk, Nouretdinov & Gammerman 2003): it reaches
1/alpha with probability at most alpha in all the time to come (Ville 1939). The stakes are a mixture of the power and
the mirrored power family, so that texts that grow stranger, and texts that all become alike, are both seen.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.core.protocols import Embedder
from rung.core.system.files import write_file

NEAR = 3
"""Nearest texts whose mean distance is a text's strangeness."""
POWERS = np.array([0.2, 0.35, 0.5, 0.65, 0.8])
"""Bets f(p) = e p^(e-1), whose mean over uniform p is 1; and the same of 1 - p."""
RESTART = 1e-3
"""Share of the capital that every new text begins a fresh bet with, so that a long quiet time costs little when drift
comes. It comes out of what is there, so the whole stays a martingale."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """``at``: after how many texts (0: no alarm), ``text`` the one that raised it. ``evidence``: how many to one
    against "nothing has changed", now and at most. ``strangest``: (rank from 0, strangest, to 1; text)."""

    seen: int
    at: int
    evidence: float
    most: float
    alpha: float
    strangest: tuple[tuple[float, str], ...] = ()
    text: str = ""


def open_job(path: Path, alarm: Alarm) -> bool:
    """Write what a retraining begins from (``rung cycle`` takes it up where ``path`` is its folder's job.json). False:
    a version was made for this alarm already. Raises OSError."""
    said = {"why": "drift", "after": alarm.at, "evidence": alarm.most, "text": alarm.text,
            "examples": [text for _, text in alarm.strangest]}  # fmt: skip
    for taken in path.parent.glob(f"*/{path.name}"):
        known = json.loads(taken.read_text(encoding="utf-8"))
        if (known.get("after"), known.get("text")) == (alarm.at, alarm.text):
            return False
    write_file(path, json.dumps(said, indent=1, ensure_ascii=False).encode())
    return True


class Monitor:
    """Watches texts against ``reference`` ones. ``alpha``: the probability at most that it ever raises a false
    alarm."""

    def __init__(self, embedder: Embedder, reference: Sequence[str], *, alpha: float = 0.01, seed: int = 0) -> None:
        if len(reference) < 40 or not 0 < alpha < 1:
            raise InputError(
                f"got {len(reference)} reference texts and alpha {alpha}, expected 40 or more and alpha between 0 and 1",
                remedy="give more of what was asked when all was well",
            )
        order = np.random.default_rng(seed).permutation(len(reference))
        half = len(order) // 2
        self._embedder, self.alpha = embedder, alpha
        self._near = embedder.embed([reference[at] for at in order[:half]])
        self._random = np.random.default_rng([seed, 1])
        self._ranked = sorted(self._strange([reference[at] for at in order[half:]]).tolist())
        self._capital = np.full(2 * len(POWERS), 1.0 / (2 * len(POWERS)))
        self.seen = self.at = 0
        self.most, self._text = 1.0, ""
        self._strangest: list[tuple[float, str]] = []

    @property
    def evidence(self) -> float:
        return float(self._capital.sum())

    def watch(self, texts: Iterable[str]) -> Alarm:
        """Take texts as they came; the alarm so far."""
        given = list(texts)
        for start in range(0, len(given), 256):
            part = given[start : start + 256]
            for text, strange in zip(part, self._strange(part), strict=True):
                self._bet(self._rank(float(strange)), text)
                insort(self._ranked, float(strange))
        strangest = tuple(sorted(self._strangest)[:5])
        return Alarm(self.seen, self.at, self.evidence, self.most, self.alpha, strangest, self._text)

    def _bet(self, p: float, text: str) -> None:
        self.seen += 1
        bets = np.concatenate([POWERS * p ** (POWERS - 1), POWERS * (1 - p) ** (POWERS - 1)])
        grown = self._capital * bets
        # A little of the capital is shared out anew among all stakes: the sum is untouched.
        whole = float(grown.sum())
        self._capital = (1 - RESTART) * grown + RESTART * whole / len(grown)
        self.most = max(self.most, whole)
        if not self.at and math.log(max(whole, 1e-300)) >= -math.log(self.alpha):
            self.at, self._text = self.seen, text
        self._strangest = sorted([*self._strangest, (p, text)])[:5]

    def _rank(self, strange: float) -> float:
        """The conformal p-value, ties broken by a coin: uniform while nothing has changed."""
        right, left = bisect_right(self._ranked, strange), bisect_left(self._ranked, strange)
        p = (len(self._ranked) - right + self._random.random() * (right - left + 1)) / (len(self._ranked) + 1)
        return min(max(float(p), 1e-9), 1 - 1e-9)

    def _strange(self, texts: Sequence[str]) -> NDArray[np.float64]:
        alike = self._embedder.embed(list(texts)) @ self._near.T
        count = min(NEAR, alike.shape[1])
        top = np.partition(alike, -count, axis=1)[:, -count:]
        strange: NDArray[np.float64] = 1.0 - top.astype(np.float64).mean(axis=1)
        return strange
