"""Stop a rung early when it cannot come within the tolerance of a better one any more, without spoiling the error rate.

Looking at a fixed-size test after every wave would stop good rungs far too often. Instead a bet is placed on each item:
a gambler who doubts "this rung's mean is at most ``tolerance`` below its rival's" multiplies his wealth by
``1 - b * (mine - theirs + tolerance)``. If the statement is true his wealth is a supermartingale whatever b, so that it
ever reaches 1/alpha has probability at most alpha, however often one looks (Ville 1939). b is not known beforehand: the
wealth is averaged over a grid of bets. This is the betting test of Waudby-Smith & Ramdas, "Estimating means of bounded
random variables by betting", JRSS B 86(1), 2024, with a mixture in place of their tuned bets.

What is guaranteed: a rung whose true mean is within the tolerance of each rival it may be compared with is stopped with
probability at most ``alpha``, provided that values lie in 0..1, that the items come in an order that has nothing to do
with the answers (frozen splits are hashed), and that ``rivals`` counts every rung that could have been chosen as its
rival. Which of them was chosen, and by what, then does not matter (Bonferroni). The guarantee is for each rung, not for
all of a climb together.

Only means can be watched. Macro-F1, BLEU and the like are not means of per-item values; a per-item stand-in (accuracy
for macro-F1) can fall while the metric rises, so those rungs always get all their items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Metric
from rung.core.types import Score
from rung.metrics.mean import Mean, values_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BETS = np.geomspace(0.01, 0.99, 32)
"""Shares of the largest bet that cannot lose more than everything."""


def evidence(differences: Sequence[float] | NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Natural log of the wealth against "the mean difference is at least -tolerance" after each item, shape (n,).

    ``differences`` are mine - theirs in -1..1, in the order they came. Raises InputError outside that range or for a
    tolerance outside 0..1.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not 0 <= tolerance < 1:
        raise InputError(f"got tolerance {tolerance}, expected 0 <= tolerance < 1", remedy="write tolerance: 0.02")
    if values.size and np.abs(values).max() > 1 + 1e-9:
        raise InputError("a difference lies outside -1..1", remedy="use a metric whose values lie in 0..1")
    bets = _BETS / (1 + tolerance)
    paths = np.log1p(-bets[:, None] * (values + tolerance)).cumsum(axis=1)
    top = paths.max(axis=0, initial=-np.inf)
    mixed: NDArray[np.float64] = top + np.log(np.exp(paths - top).mean(axis=0))
    return mixed


class Race:
    """One rung against one rival on the same items, looked at after every wave.

    ``rivals``: how many rungs it might have been compared with (see the module). ``alpha``: probability of stopping it
    although it is within ``tolerance`` of all of them.
    """

    def __init__(self, tolerance: float, *, alpha: float = 0.05, rivals: int = 1) -> None:
        if not 0 < alpha < 1 or rivals < 1:
            raise InputError(
                f"got alpha {alpha} and {rivals} rivals, expected 0 < alpha < 1 and at least 1",
                remedy="leave alpha at 0.05",
            )
        self.tolerance = tolerance
        self.bound = float(np.log(rivals / alpha))
        self._differences: list[float] = []

    def look(self, metric: Metric, mine: Sequence[Score], theirs: Sequence[Score]) -> str:
        """Add a wave of scores (item i of both the same). Empty: go on; else why to stop, as a sentence that wants the
        rival's name at its end. Metrics that are no mean are never stopped. Raises InputError when lengths differ."""
        if len(mine) != len(theirs):
            raise InputError(f"got {len(mine)} and {len(theirs)} scores, expected pairs", remedy="pass the same items")
        if not isinstance(metric, Mean) or not mine:
            return ""
        sign = 1.0 if metric.higher_is_better else -1.0
        self._differences.extend((sign * (values_of(mine) - values_of(theirs))).tolist())
        path = evidence(self._differences, self.tolerance)
        crossed = np.flatnonzero(path >= self.bound)
        if not crossed.size:
            return ""
        gap = abs(float(np.mean(self._differences)))
        return (
            f"stopped after {len(self._differences)} test examples: {gap:.3f} worse so far, and shown to be more than "
            f"{self.tolerance:g} worse (evidence {np.exp(min(path.max(), 50.0)):.3g} to 1) than"
        )
