"""Near-duplicates in a stream: what is planted is found, what is called one is one, in whatever pieces the stream comes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rung.data.clean.filters.minhash import Deduplicator, bands, sets
from rung.tasks.identity import words


def _texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 8))) for _ in range(3000)]
    return [" ".join(rng.choices(vocabulary, k=60)) for _ in range(count)]


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def test_planted_copies_are_found_and_nothing_else() -> None:
    rng = random.Random(1)
    originals = _texts(600)
    copies = []
    for text in originals:
        said = text.split()
        for at in rng.sample(range(60), rng.randint(1, 6)):
            said[at] = f"new{at}"
        copies.append(" ".join(said))
    found = Deduplicator(0.8).query_insert([*originals, *copies])
    assert (found[:600] == -1).all()
    before, after = sets(originals), sets(copies)
    near = [i for i in range(600) if _jaccard(before[i], after[i]) >= 0.8]
    assert 150 < len(near) < 600  # both kinds are there
    assert sum(found[600 + i] == i for i in near) >= 0.95 * len(near)
    assert all(found[600 + i] < 0 for i in range(600) if i not in set(near))


def test_the_same_in_pieces_and_at_once() -> None:
    texts = _texts(300)
    texts += [f"{text} and more" for text in texts[:150]]
    whole = Deduplicator(0.7).query_insert(texts).tolist()
    pieces = Deduplicator(0.7)
    out = [
        number
        for begin in range(0, len(texts), 37)
        for number in pieces.query_insert(texts[begin : begin + 37]).tolist()
    ]
    assert out == whole
    assert sum(number >= 0 for number in whole) == 150
    looker = Deduplicator(0.7)
    looker.insert(texts[:300])
    assert looker.query(texts[300:]).tolist() == whole[300:]
    assert len(looker) == 300


def test_case_and_punctuation_do_not_matter_and_empty_is_like_nothing() -> None:
    found = Deduplicator().query_insert(
        ["One two, three four!", "", "one TWO three... four", "?!", "", "Grüße aus Köln heute", "grüße aus KÖLN, heute"]
    )
    assert found.tolist() == [-1, -1, 0, -1, -1, -1, 4]
    assert words("A-b_c d, e") == ["a-b_c", "d", "e"]  # a subtraction, a name in code
    assert Deduplicator().query_insert([]).shape == (0,)


def test_texts_of_one_template_stay_linear() -> None:
    texts = [
        f"the same long beginning of every single text in this set number {i} code {i * 7919}" for i in range(3000)
    ]
    found = Deduplicator(0.95).query_insert(texts)
    assert (found == -1).all()
    assert isinstance(found, np.ndarray)


def test_thresholds() -> None:
    assert bands(0.8) < bands(0.7) < bands(0.5)
    with pytest.raises(ValueError, match=r"expected 0\.4 to 1"):
        Deduplicator(0.1)
    assert Deduplicator(1.0).query_insert(["a b c d", "a b c e", "a b c d"]).tolist() == [-1, -1, 0]
