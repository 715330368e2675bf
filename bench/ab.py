"""How often does an A/B test call equal arms different when somebody looks after every score? And how soon is a worse B found?

A/A: simulated tests whose arms are the same, looked at after every one of their scores. Compared: rung's test, the
z-test of two means read each time as if it were the first (what a dashboard invites to), and that z-test read once
at the end. A/B: B is worse; the share of tests that say so, after how many scores, and how many the z-test read
once needs for a power of 80%.

    python bench/ab.py [--runs 1000] [--scores 5000] [--alpha 0.05]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rung.metrics.statistics.ab import Arm, look, paths
from rung.metrics.stats import wilson

Table = NDArray[np.float64]


def draw(kind: str, p: float, rng: np.random.Generator, shape: tuple[int, int]) -> Table:
    """Scores of mean ``p``: right or wrong, five grades, or a beta distribution."""
    if kind == "0/1":
        return (rng.random(shape) < p).astype(np.float64)
    if kind == "grades":
        return rng.binomial(4, p, shape) / 4
    return rng.beta(8 * p, 8 * (1 - p), shape)


def simulate(
    kind: str, p: float, gap: float, share: float, runs: int, scores: int, seed: int
) -> tuple[list[Table], Table]:
    """Running n and sum of A, n and sum of B after each score, shape (runs, scores) each, and the scores' squares' sum."""
    rng = np.random.default_rng(seed)
    in_b = rng.random((runs, scores)) < share
    values = np.where(in_b, draw(kind, p - gap, rng, in_b.shape), draw(kind, p, rng, in_b.shape))
    parts = (~in_b, np.where(in_b, 0, values), in_b, np.where(in_b, values, 0))
    first, second, third, fourth, squares = (np.cumsum(part, axis=1, dtype=np.float64) for part in (*parts, values**2))
    return [first, second, third, fourth], squares


def z_test(sums: Sequence[Table], squares: Table) -> Table:
    """|z| of two means with their pooled variance (of proportions, where scores are 0 or 1); 0 before both have ten scores."""
    a_n, a, b_n, b = sums
    pooled = (a + b) / np.maximum(a_n + b_n, 1)
    variance = squares / np.maximum(a_n + b_n, 1) - pooled**2
    spread = np.sqrt(np.maximum(variance * (1 / np.maximum(a_n, 1) + 1 / np.maximum(b_n, 1)), 1e-300))
    z = np.abs(a / np.maximum(a_n, 1) - b / np.maximum(b_n, 1)) / spread
    return np.where(np.minimum(a_n, b_n) >= 10, z, 0.0)


def fixed(p: float, gap: float, alpha: float) -> int:
    """Scores (both arms, equal) that the two-sided z-test read once needs for a power of 80%."""
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(0.8)
    return math.ceil(2 * z**2 * (p * (1 - p) + (p - gap) * (1 - p + gap)) / gap**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--scores", type=int, default=5000)
    parser.add_argument("--alpha", type=float, default=0.05)
    given = parser.parse_args()
    runs, scores, alpha = given.runs, given.scores, given.alpha
    bound, z_bound = math.log(1 / alpha), NormalDist().inv_cdf(1 - alpha / 2)
    print(f"{runs} A/A tests of {scores} scores, a look after each; ever called different at alpha {alpha:g}\n")
    print("scores  mean  B's share   rung                    z-test, every look   z-test, once")
    for kind, p, share in (
        ("0/1", 0.5, 0.5),
        ("0/1", 0.8, 0.5),
        ("0/1", 0.8, 0.1),
        ("0/1", 0.05, 0.1),
        ("grades", 0.6, 0.5),
        ("beta", 0.6, 0.5),
    ):
        sums, squares = simulate(kind, p, 0.0, share, runs, scores, seed=1)
        ever = int((paths(*sums) >= bound).any(axis=1).sum())
        z = z_test(sums, squares)
        span = wilson(ever, runs)
        often, once = (z > z_bound).any(axis=1).mean(), (z[:, -1] > z_bound).mean()
        print(
            f"{kind:<7} {p:4.2f}  {share:9.2f}   {ever / runs:.1%} [{span.low:.1%}, {span.high:.1%}]   "
            f"{often:18.1%}   {once:12.1%}"
        )
    print(f"\nA/B tests of 0/1 scores, A at 0.80, half the callers each, up to {4 * scores} scores, 200 of them\n")
    print("B is     found worse   median scores   said better   z-test once, power 80%")
    for gap in (0.2, 0.1, 0.05, 0.03):
        sums, _ = simulate("0/1", 0.8, gap, 0.5, 200, 4 * scores, seed=2)
        crossed = paths(*sums) >= bound
        found = crossed.any(axis=1)
        at = crossed.argmax(axis=1)
        rows = np.arange(len(at))
        means = [total[rows, at] / np.maximum(n[rows, at], 1) for n, total in ((sums[0], sums[1]), (sums[2], sums[3]))]
        worse = found & (means[1] < means[0])
        median = f"{np.median(at[worse]) + 1:.0f}" if worse.any() else "-"
        print(
            f"{0.8 - gap:.2f}     {worse.mean():11.1%}   {median:>13}   {(found & ~worse).mean():11.1%}   {fixed(0.8, gap, alpha):>8}"
        )
    one, two = Arm(90_000, 72_000.0), Arm(10_000, 7_900.0)
    started = time.perf_counter()
    for _ in range(100):
        look(one, two, alpha=alpha)
    print(f"\none look at 100,000 scores: {(time.perf_counter() - started) * 10:.2f} ms")


if __name__ == "__main__":
    main()
