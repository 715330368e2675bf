"""Decoding on a small language whose best text is known, and the engine's draws against the distribution written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rung.core.types import Sampling
from rung.foundations.language.sampling import beam, distribution, greedy
from rung.studies.lab.language.draws import drawn


class Table:
    """What follows depends on the last symbol alone: log-probabilities of shape (symbols, symbols)."""

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.table = np.log(table)

    def begin(self, prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.table[prompts[:, -1]]

    def extend(self, rows: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.table[symbols]


TRAP = Table(np.array([[0.1, 0.5, 0.4], [0.34, 0.33, 0.33], [0.01, 0.01, 0.98]]))
"""After 0 the likeliest is 1, which leads nowhere; 2 goes on surely."""


def test_a_beam_finds_what_greedy_misses() -> None:
    prompts = np.array([[0], [2]])
    first, p = greedy(TRAP, prompts, 3)
    kept, q = beam(TRAP, prompts, 3, 2)
    assert first.tolist() == [[1, 0, 1], [2, 2, 2]]
    assert kept.tolist() == [[2, 2, 2], [2, 2, 2]]
    assert q[0] > p[0]
    assert q[0] == pytest.approx(np.log(0.4 * 0.98 * 0.98))
    assert q[1] == pytest.approx(p[1])


def test_a_beam_as_wide_as_the_language_is_exact() -> None:
    rng = np.random.default_rng(1)
    table = rng.dirichlet(np.ones(4), 4)
    _, p = beam(Table(table), np.array([[3]]), 4, 64)
    best = max(
        np.log([table[3, a], table[a, b], table[b, c], table[c, d]]).sum()
        for a in range(4) for b in range(4) for c in range(4) for d in range(4)
    )  # fmt: skip
    assert p[0] == pytest.approx(best)


def test_the_distribution_by_hand() -> None:
    logits = np.log([0.5, 0.25, 0.15, 0.1])
    assert distribution(logits, top_k=2) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert distribution(logits, top_p=0.7) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert distribution(logits, top_p=0.76) == pytest.approx([0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0])
    sharp = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    assert distribution(logits, 0.5) == pytest.approx(sharp / sharp.sum())


@pytest.mark.parametrize("sampling", [Sampling(1.0, top_k=5), Sampling(0.8, top_p=0.9), Sampling(1.3)])
def test_the_engine_draws_from_the_distribution(sampling: Sampling) -> None:
    logits = np.random.default_rng(4).normal(0, 2, (5, 60)).astype(np.float32)
    inside, fits = drawn(logits, sampling, 5000, 0, level=0.001)
    assert inside.held == inside.asked == 5000
    assert fits.held == fits.asked == 5


def test_a_wrong_draw_is_seen() -> None:
    logits = np.random.default_rng(4).normal(0, 2, (5, 60)).astype(np.float32)
    shifted = drawn(logits * 1.2, Sampling(1.0), 20_000, 0)[1]
    assert shifted.held == shifted.asked
    from rung.studies.lab.language import draws

    seen = np.bincount(np.random.default_rng(0).integers(0, 60, 4000), minlength=60)
    from scipy.stats import chisquare

    assert chisquare(*draws._cells(seen, distribution(logits[0].astype(float)) * 4000)).pvalue < 1e-6
