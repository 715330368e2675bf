"""An A/B test that may be looked at as often as one likes: is B's mean score another one than A's?

Scores lie in 0..1. Each arm's scores y, with their sum S and the number n of them, bet against every mean m at once:
with F = n - S, the mixture over p of ``(p/m)**S * ((1-p)/(1-m))**F``, p from Beta(1/2, 1/2). For scores of mean m this
wealth is a supermartingale, whatever they are within 0..1: by convexity in y one factor is at most
``y p/m + (1-y)(1-p)/(1-m)``, whose mean is 1. This is the beta-binomial mixture of Howard, Ramdas, McAuliffe & Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021 (arXiv:1810.08240);
for right-or-wrong scores it is a mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis & Walsh,
arXiv:1512.04922) without their normal approximation.

The product of both arms' wealths at their true means is one as well, so that it ever reaches 1/alpha has probability at
most alpha (Ville 1939), whatever share of the traffic an arm has and however the shares change. The true means are not
known: the smallest product over all pairs of means that differ by d is the evidence against "B - A is d". The
differences against which it stays below 1/alpha are the confidence sequence, an interval because that evidence is
convex in d. "B is worse" is said when all of it lies below 0; that this is ever said of a B which is not worse has
probability at most alpha.

What it takes: scores of one caller after another that do not depend on each other (count each caller once), and
feedback that is given for A as readily as for B. Graded scores that vary little are treated as if they varied like
right-or-wrong ones: valid, with less power. ``metrics.sequential`` is for paired differences and cannot be used here:
no caller sees both arms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rung.core.errors import InputError
from rung.core.types import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

Verdict = Literal["open", "worse", "better"]

_PRIOR = 0.5
_LOG_PRIOR = 2 * math.lgamma(_PRIOR) - math.lgamma(2 * _PRIOR)


@dataclass(frozen=True, slots=True)
class Arm:
    """``n`` independent scores in 0..1 and their sum ``total``."""

    n: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at one look. ``difference`` is B - A with its confidence sequence at this time, ``p`` always valid,
    ``evidence`` the odds against no difference, ``verdict`` what may be said of B."""

    a: Arm
    b: Arm
    difference: Interval
    p: float
    evidence: float
    verdict: Verdict


def look(a: Arm, b: Arm, *, alpha: float = 0.05) -> Look:
    """Compare two arms. Raises InputError for sums that no scores in 0..1 have, or alpha outside (0, 1)."""
    _check(a, b, alpha)
    evidence = against_equality(a, b)
    low, high = _sequence(a, b, math.log(1 / alpha))
    verdict: Verdict = "worse" if high < 0 else "better" if low > 0 else "open"
    value = b.mean - a.mean if a.n and b.n else 0.0
    return Look(
        a,
        b,
        Interval(value, low, high, 1 - alpha),
        min(1.0, math.exp(-evidence)),
        math.exp(min(evidence, 700.0)),
        verdict,
    )


def against_equality(a: Arm, b: Arm) -> float:
    """Natural log of the evidence against one common mean; the smallest product of wealths is at the pooled mean."""
    wins, n = a.total + b.total, a.n + b.n
    return _mixed(a) + _mixed(b) - (_xlog(wins, wins / n) + _xlog(n - wins, (n - wins) / n) if n else 0.0)


def paths(
    a_n: NDArray[np.float64], a_total: NDArray[np.float64], b_n: NDArray[np.float64], b_total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``against_equality`` for arrays of any one shape: for simulations that look after every score."""
    from scipy.special import betaln, xlogy

    fixed = betaln(_PRIOR, _PRIOR)
    wins, n = a_total + b_total, a_n + b_n
    share = wins / np.maximum(n, 1)
    mixed = betaln(a_total + _PRIOR, a_n - a_total + _PRIOR) + betaln(b_total + _PRIOR, b_n - b_total + _PRIOR)
    out: NDArray[np.float64] = mixed - 2 * fixed - xlogy(wins, share) - xlogy(n - wins, 1 - share)
    return out


def _check(a: Arm, b: Arm, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"got alpha {alpha}, expected a number between 0 and 1", remedy="leave alpha at 0.05")
    for arm in (a, b):
        if arm.n < 0 or not -1e-9 <= arm.total <= arm.n + 1e-9:
            raise InputError(f"got a sum of {arm.total} over {arm.n} scores in 0..1", remedy="check the scores")


def _mixed(arm: Arm) -> float:
    """Log of the mixture's likelihood: what the wealth is before it is divided by that of a mean."""
    wins, losses = max(arm.total, 0.0) + _PRIOR, max(arm.n - arm.total, 0.0) + _PRIOR
    return math.lgamma(wins) + math.lgamma(losses) - math.lgamma(wins + losses) - _LOG_PRIOR


def _xlog(x: float, y: float) -> float:
    return x * math.log(y) if x > 0 else 0.0


def _against(a: Arm, b: Arm, d: float) -> float:
    """Log of the evidence against "mean of B - mean of A = d": least product of wealths, by bisection on the slope."""
    low, high = max(0.0, -d), min(1.0, 1.0 - d)
    sums = (a.total, a.n - a.total, b.total, b.n - b.total)

    def slope(m: float) -> float:
        n = m + d
        return (
            sums[1] / max(1 - m, 1e-300)
            + sums[3] / max(1 - n, 1e-300)
            - sums[0] / max(m, 1e-300)
            - sums[2] / max(n, 1e-300)
        )

    for _ in range(40):
        middle = (low + high) / 2
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    m = (low + high) / 2
    ends = (m, 1 - m, m + d, 1 - m - d)
    return _mixed(a) + _mixed(b) - sum(_xlog(s, max(e, 1e-300)) for s, e in zip(sums, ends, strict=True))


def _sequence(a: Arm, b: Arm, bound: float) -> tuple[float, float]:
    """Ends of the differences against which the evidence stays below ``bound``."""
    if not a.n or not b.n:
        return -1.0, 1.0
    value = b.mean - a.mean

    def end(edge: float) -> float:
        if _against(a, b, edge) < bound:
            return edge
        inside, outside = value, edge
        for _ in range(24):
            middle = (inside + outside) / 2
            if _against(a, b, middle) < bound:
                inside = middle
            else:
                outside = middle
        return outside  # on the safe side, by 1e-7 at most

    return end(-1.0), end(1.0)
