"""The label search against exhaustive enumeration over made-up distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.models.engine.closed.trie import Search, Trie

VOCABULARY, END = 9, 8


def logits_of(seed: int, chain: tuple[int, ...]) -> NDArray[np.float32]:
    mix = seed
    for token in chain:
        mix = mix * 31 + token + 1
    return (np.random.default_rng(mix).standard_normal(VOCABULARY) * 2).astype(np.float32)


def exhaustive(sequences: list[tuple[int, ...]], seed: int) -> list[float]:
    """Every candidate's log-probability, straight from the definition."""
    out = []
    full = [(*s, END) for s in sequences]
    for target in full:
        total = 0.0
        for at in range(len(target)):
            allowed = sorted({s[at] for s in full if s[:at] == target[:at] and len(s) > at})
            values = logits_of(seed, target[:at])[allowed].astype(np.float64)
            total += float(values[allowed.index(target[at])] - np.logaddexp.reduce(values))
        out.append(total)
    return out


def run(sequences: list[tuple[int, ...]], seed: int) -> tuple[Search, list[tuple[int, ...]]]:
    search = Search(Trie(sequences, END))
    asked = []
    while not search.done:
        asked.append(search.chain)
        search.expand(logits_of(seed, search.chain))
    return search, asked


sets = st.lists(st.lists(st.integers(0, 3), max_size=6).map(tuple), min_size=1, max_size=20)


@given(sets, st.integers(0, 2**20))
def test_finds_the_exact_best(sequences: list[tuple[int, ...]], seed: int) -> None:
    expected = exhaustive(sequences, seed)
    search, asked = run(sequences, seed)
    got = search.logprobs()
    assert expected[search.best] == pytest.approx(max(expected), abs=1e-6)
    assert got[search.best] == pytest.approx(max(expected), abs=1e-6)
    assert search.best == sequences.index(sequences[search.best]), "duplicates: the first one"
    for value, truth in zip(got, expected, strict=True):
        assert value == -math.inf or value == pytest.approx(truth, abs=1e-6)
        if value == -math.inf:
            assert truth <= max(expected) + 1e-6
    assert len(asked) == len(set(asked)), "nothing is computed twice"
    unique = set(sequences)
    if all(math.isfinite(v) for v in got):
        assert math.fsum(math.exp(got[sequences.index(s)]) for s in unique) == pytest.approx(1, abs=1e-6)


def test_forced_tokens_cost_nothing() -> None:
    search = Search(Trie([(1, 2, 3, 4), (1, 2, 5, 6)], END))
    assert search.chain == (1, 2)
    search.expand(logits_of(3, (1, 2)))
    assert search.done
    assert search.expanded == 1
    assert math.fsum(map(math.exp, search.logprobs())) == pytest.approx(1)


def test_one_candidate_needs_no_model() -> None:
    search = Search(Trie([(1, 2)], END))
    assert search.done
    assert search.logprobs() == (0.0,)


def test_a_label_may_begin_another() -> None:
    sequences = [(1,), (1, 2), ()]
    expected = exhaustive(sequences, 5)
    search, _ = run(sequences, 5)
    assert search.best == int(np.argmax(expected))


def test_no_sequences_and_broken_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Trie([], END)
    search = Search(Trie([(1,), (2,)], END))
    with pytest.raises(ValueError, match="finite"):
        search.expand(np.full(VOCABULARY, np.nan, np.float32))
