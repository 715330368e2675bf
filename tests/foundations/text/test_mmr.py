"""Maximal marginal relevance by hand, and against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from rung.foundations.text.mmr import mmr


def test_a_twin_waits_for_something_else() -> None:
    relevance = np.array([1.0, 0.95, 0.5])
    likeness = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    assert mmr(relevance, likeness.__getitem__, 3, 1.0) == [0, 1, 2]
    assert mmr(relevance, likeness.__getitem__, 3, 0.5) == [0, 2, 1]
    assert mmr(relevance, likeness.__getitem__, 1, 0.5) == [0]
    assert mmr(relevance[:0], likeness.__getitem__, 3, 0.5) == []


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_it_is_the_definition(weight: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    relevance = rng.random(30)
    wanted: list[int] = []
    while len(wanted) < 12:
        values = [
            -np.inf
            if place in wanted
            else weight * relevance[place]
            - (1 - weight) * max((rows[place] @ rows[other] for other in wanted), default=0)
            for place in range(30)
        ]
        wanted.append(int(np.argmax(values)))
    assert mmr(relevance, lambda place: rows @ rows[place], 12, weight) == wanted
