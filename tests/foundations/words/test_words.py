"""Each method on a text whose answer is known, and its arithmetic against a plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.foundations.words import fasttext, word2vec
from rung.foundations.words.fasttext import FastText, pieces
from rung.foundations.words.glove import GlovePlan, cooccurrences, factorize
from rung.foundations.words.procrustes import rotation
from rung.foundations.words.vocabulary import STEP, TextVocabulary, add_rows
from rung.foundations.words.word2vec import SkipgramPlan, train
from rung.models.embed import open_embedder

ANIMALS, TOOLS = ("horse", "goat", "sheep", "duck", "donkey"), ("hammer", "wrench", "chisel", "pliers", "drill")


def fable(n: int = 3000) -> str:
    """Animals eat and sleep, tools cut and hold: two families that share no company."""
    rng = np.random.default_rng(5)
    ways = ((ANIMALS, ("eats", "sleeps", "grass", "barn")), (TOOLS, ("cuts", "holds", "steel", "bench")))
    said = []
    for at in range(n):
        family, company = ways[at % 2]
        said.append(" ".join([company[rng.integers(4)], family[rng.integers(5)], company[rng.integers(4)]]))
    return ". ".join(said)


@pytest.fixture(scope="module")
def vocabulary() -> TextVocabulary:
    return TextVocabulary.read(fable())


def apart(vocabulary: TextVocabulary, vectors: NDArray[np.float32]) -> float:
    """Mean cosine within a family less that between the two."""
    rows = vectors[[vocabulary.words.index(word) for word in (*ANIMALS, *TOOLS)]]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    return float(cosines[:5, :5].mean() + cosines[5:, 5:].mean() - 2 * cosines[:5, 5:].mean()) / 2


PLAN = SkipgramPlan(16, window=3, epochs=4, rate=0.05, threshold=1.0)


@pytest.mark.parametrize("cbow", [False, True])
def test_words_in_like_company_are_alike(cbow: bool, vocabulary: TextVocabulary) -> None:
    vectors = train(vocabulary, PLAN, cbow=cbow)
    assert vectors.shape == (18, 16)
    assert apart(vocabulary, vectors) > 0.5
    assert np.array_equal(vectors, train(vocabulary, PLAN, cbow=cbow)), "a seed decides all"


def test_a_step_of_skipgram_is_the_sum_over_its_pairs() -> None:
    """Against a loop over pairs, with the same windows and negatives."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 12, 40)
    words, outputs = (rng.normal(size=(12, 4)).astype(np.float32) for _ in range(2))
    plan, rate = SkipgramPlan(4, window=2), np.float32(0.001)
    ((_, near, counted),) = list(word2vec._blocks(ids, 2, np.random.default_rng(1)))
    drawn = rng.integers(0, 12, (len(near), word2vec.SHARED))
    wanted, wanted_out = words.copy(), outputs.copy()
    seen = 0
    for block, pairs in enumerate(counted):
        for row, weights in enumerate(pairs):
            centre = near[block, 2 + row]
            for place in np.flatnonzero(weights):
                seen += 1
                true = [(near[block, place], 1.0, 1.0)]
                false = [(word, 0.0, plan.negatives / word2vec.SHARED) for word in drawn[block]]
                for other, label, weight in true + false:
                    push = rate * weight * (label - 1 / (1 + np.exp(-words[centre] @ outputs[other])))
                    wanted[centre] += push * outputs[other]
                    wanted_out[other] += push * words[centre]
    widths = np.random.default_rng(1).integers(1, 3, (2, 32, 1)).ravel()[:40]
    assert seen == sum(min(at, w) + min(39 - at, w) for at, w in enumerate(widths)), "windows end with the text"
    table = word2vec.WordTable(words.copy())
    moved = outputs.copy()
    blocks = word2vec.WordBlocks(near, counted, drawn, 2)
    word2vec._skip(table, moved, blocks, rate, np.float32(plan.negatives / word2vec.SHARED))
    assert np.allclose(table.rows, wanted, atol=1e-6)
    assert np.allclose(moved, wanted_out, atol=1e-6)


def test_glove_gives_the_logarithms_back(vocabulary: TextVocabulary) -> None:
    counts = cooccurrences(vocabulary, 2)
    first, second = vocabulary.ids[:-1], vocabulary.ids[1:]
    near = float(((first == 0) & (second == 1)).sum() + ((first == 1) & (second == 0)).sum())
    beyond = float(
        ((vocabulary.ids[:-2] == 0) & (vocabulary.ids[2:] == 1)).sum()
        + ((vocabulary.ids[:-2] == 1) & (vocabulary.ids[2:] == 0)).sum()
    )
    assert counts[0, 1] == counts[1, 0] == pytest.approx(near + beyond / 2)
    found = factorize(counts, GlovePlan(12, epochs=500))
    assert found.fit > 0.9
    assert found.losses[-1] < found.losses[0]
    assert apart(vocabulary, found.vectors) > 0.3


def test_fasttext_knows_words_that_it_never_saw(vocabulary: TextVocabulary, tmp_path: Path) -> None:
    assert pieces("her", 3, 4) == ["<he", "her", "er>", "<her", "her>"]
    model = FastText.fit(vocabulary, PLAN)
    known = model.vectors(list(vocabulary.words))
    assert apart(vocabulary, known) > 0.5
    assert np.abs(known.mean(0)).max() < 1e-3 * np.abs(known).max()
    assert not model.vectors(["qqqq"]).any()
    model.save(tmp_path / "f.npz")
    embedder = open_embedder(f"subwords:{tmp_path / 'f.npz'}")
    near = embedder.embed(["eepish", "sheep", "wrench", ""])  # eep is in sheep and sleeps, ench in wrench and bench
    assert near[0] @ near[1] > near[0] @ near[2]
    assert np.allclose(np.linalg.norm(near, axis=1), 1, atol=1e-5)
    (tmp_path / "g.npz").write_bytes(b"no archive")
    for name in (f"subwords:{tmp_path / 'g.npz'}", "subwords:none.npz", "subwords"):
        with pytest.raises(InputError):
            open_embedder(name)


def test_directions_are_brought_half_way_to_one_variance() -> None:
    wide = np.random.default_rng(4).normal(size=(500, 3)) * [9.0, 1.0, 0.25] + 5
    given, found = (np.sort(x.std(0)) for x in (wide, fasttext._spread(wide.astype(np.float32), np.eye(500))))
    assert np.allclose(found, np.sqrt(given), rtol=0.05)


def test_procrustes_finds_a_turn() -> None:
    rng = np.random.default_rng(2)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    rows = rng.normal(size=(40, 6)).astype(np.float32)
    assert np.allclose(rotation(rows, (rows @ turn).astype(np.float32)), turn, atol=1e-5)


def test_rows_add_up_where_a_word_occurs_twice() -> None:
    table = np.zeros((4, 2), np.float32)
    add_rows(table, np.array([1, 3, 1]), np.full((3, 2), 0.1, np.float32))
    assert np.allclose(table[:, 0], np.array([0, 0.2, 0, 0.1]))
    add_rows(table, np.array([0]), np.array([[9.0, -9.0]], np.float32))
    assert table[0].tolist() == [STEP, -STEP]


@pytest.mark.parametrize("text", ["", "one " * 500, "... !!! ---"])
def test_a_text_without_words(text: str) -> None:
    with pytest.raises(InputError) as caught:
        TextVocabulary.read(text)
    assert caught.value.code == "few-words"
