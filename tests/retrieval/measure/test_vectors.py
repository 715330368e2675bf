from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.retrieval.measure.vectors import (
    Space,
    agree,
    align,
    answer,
    parallel,
    parse_analogy,
    parse_sum,
    read_sections,
    read_similarity,
    spearman,
)

Array = np.ndarray[Any, np.dtype[np.float32]]


def unit(rows: Any) -> Array:
    rows = np.array(rows, np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


NAMES = ["man", "woman", "king", "queen", "King", "boy", "girl", "apple"]


@pytest.fixture
def space() -> Space:
    """Royalty on one axis, sex on another, youth on a third."""
    return Space(
        NAMES,
        unit(
            [
                [1, 0, 0, 1],
                [-1, 0, 0, 1],
                [1, 2, 0, 1],
                [-1, 2, 0, 1],
                [1, 2, 0.1, 1],
                [1, 0, 2, 1],
                [-1, 0, 2, 1],
                [0, 0, 0, -1],
            ]
        ),
    )


class Letters:
    """An embedder without a vocabulary: counts of four letters."""

    name = "letters"
    fingerprint = "letters"
    dimensions = 4

    def embed(self, texts: Sequence[str]) -> Array:
        return unit([[1 + text.count(c) for c in "abcd"] for text in texts])


def test_sums_and_analogies_leave_their_own_words_out_in_any_casing(space: Space) -> None:
    found = space.evaluate("king - man + woman", 3)
    assert found[0][0] == "queen"
    assert {word for word, _ in found}.isdisjoint({"king", "King", "man", "woman"})
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    vector = space.vector("king") - space.vector("man") + space.vector("woman")
    assert found[0][1] == pytest.approx(float(vector @ space.vector("queen") / np.linalg.norm(vector)), abs=1e-6)
    assert space.analogy("man", "woman", "boy", 1)[0][0] == "girl"
    assert space.nearest(space.vector("KING"), 1, ["king"])[0][0] == "queen"


def test_nearest_is_brute_force(space: Space) -> None:
    query = np.array([0.3, 0.2, -0.5, 0.9], np.float32)
    wanted = sorted(zip(space.vectors @ query / np.linalg.norm(query), NAMES, strict=True), reverse=True)
    found = space.nearest(query, len(NAMES))
    assert [word for word, _ in found] == [word for _, word in wanted]
    assert np.allclose([score for _, score in found], [score for score, _ in wanted], atol=1e-6)


def test_unknown_words_name_the_nearest(space: Space) -> None:
    with pytest.raises(InputError, match="queen"):
        space.vector("quen")


def test_an_embedder_without_words_needs_a_list() -> None:
    with pytest.raises(InputError, match="--words"):
        Space.of(Letters())
    space = Space.of(Letters(), ["abba", "dada", "abba"])
    assert list(space.words) == ["abba", "dada"]
    word, cosine = space.nearest(space.vector("baab"), 1)[0]
    assert word == "abba"
    assert cosine == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("king - man + woman", [(1, "king"), (-1, "man"), (1, "woman")]),
        ("-man +woman", [(-1, "man"), (1, "woman")]),
        ("well-known + e-mail", [(1, "well-known"), (1, "e-mail")]),
        ('"New York" - city', [(1, "New York"), (-1, "city")]),
        ("king", [(1, "king")]),
    ],
)
def test_sums_are_read(text: str, terms: list[tuple[int, str]]) -> None:
    assert parse_sum(text) == terms


@pytest.mark.parametrize("text", ["", "king -", "king man", "+ + king", "- "])
def test_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="king - man"):
        parse_sum(text)


@given(st.text('ab+- "', max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        terms = parse_sum(text)
    except InputError:
        return
    assert terms
    assert all(sign in (1, -1) and word for sign, word in terms)


@pytest.mark.parametrize(
    "text", ["man:woman::king:?", "man:woman::king", " man : woman :: king : ", "man:woman::king:"]
)
def test_analogies_are_read(text: str) -> None:
    assert parse_analogy(text) == ("man", "woman", "king")


@pytest.mark.parametrize("text", ["man:woman", "man:woman:king", "::", "a:b::c:d"])
def test_what_is_no_analogy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="man:woman::king"):
        parse_analogy(text)


def test_a_file_of_analogies_is_scored_by_section(space: Space, tmp_path: Path) -> None:
    path = tmp_path / "q.txt.gz"
    lines = [
        ": family",
        "man woman king queen",
        "Man Woman Boy Girl",
        "man woman apple pear",
        ": hard",
        "man boy king apple",
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    family, hard = answer(space, read_sections(path))
    assert (family.section, family.asked, family.known, family.first, family.five) == ("family", 3, 2, 2, 2)
    assert (hard.known, hard.first, hard.five) == (1, 0, 1)
    one = [space.analogy(*question, 1)[0][0] for question in (("man", "woman", "king"), ("man", "woman", "boy"))]
    assert one == ["queen", "girl"], "a file and one question agree"


@pytest.mark.parametrize("lines", [["a b c"], ["a b c d", "a b"], [""]])
def test_a_malformed_file_says_its_line(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n".join(lines))
    with pytest.raises(InputError):
        read_sections(tmp_path / "q.txt")
    with pytest.raises(InputError):
        read_similarity(tmp_path / "q.txt")


def test_parallel_offsets_are_told_from_shuffled_ones() -> None:
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(30, 20))
    moved = heads + 3 * rng.normal(size=20)
    random = rng.normal(size=(30, 20))
    names = [f"{kind}{i}" for kind in ("head", "moved", "random") for i in range(30)]
    space = Space(names, unit(np.concatenate([heads, moved, random])))
    sections: dict[str, list[tuple[str, ...]]] = {
        "moved": [(f"head{i}", f"moved{i}") for i in range(30)],
        "random": [(f"head{i}", f"random{i}") for i in range(30)],
        "few": [("head0", "moved0"), ("head1", "nowhere")],
    }
    real, chance = parallel(space, sections, shuffles=200)
    assert real.section == "moved"
    assert real.cosine > real.shuffled + 0.1
    assert real.p < 0.01
    assert chance.p > 0.05
    offsets = unit(space.vectors[30:60] - space.vectors[:30])
    cosines = offsets @ offsets.T
    assert real.cosine == pytest.approx(float(cosines[~np.eye(30, dtype=bool)].mean()), abs=1e-5)


def test_spearman_is_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(float(spearmanr(a, b).statistic))
    assert np.isnan(spearman(np.ones(5), b[:5]))


def test_agreement_counts_what_is_known(space: Space, tmp_path: Path) -> None:
    rows = [
        ("king", "queen", 9.0),
        ("boy", "girl", 8.0),
        ("king", "apple", 0.5),
        ("man", "apple", 1.0),
        ("man", "zebra", 5.0),
    ]
    (tmp_path / "s.txt").write_text("\n".join(f"{a}\t{b}\t{score}" for a, b, score in rows))
    found = agree(space, read_similarity(tmp_path / "s.txt"), resamples=200)
    assert (found.asked, found.known) == (5, 4)
    assert found.correlation.low <= found.correlation.value <= found.correlation.high
    cosines = [float(space.vector(a) @ space.vector(b)) for a, b, _ in rows[:4]]
    assert found.correlation.value == pytest.approx(spearman(np.array(cosines), np.array([9, 8, 0.5, 1.0])))
    with pytest.raises(InputError, match="know 0 of the 3"):
        agree(space, [("x", "y", 1.0)] * 3)


def test_alignment_finds_a_rotation_and_is_measured_on_held_out_words() -> None:
    rng = np.random.default_rng(2)
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    english = unit(rng.normal(size=(200, 16)))
    french = unit(english @ rotation + 0.02 * rng.normal(size=(200, 16)))
    one, two = Space([f"e{i}" for i in range(200)], english), Space([f"f{i}" for i in range(200)], french)
    pairs = [(f"e{i}", f"f{i}") for i in range(200)]
    matrix, found = align(one, two, pairs)
    assert np.allclose(matrix @ matrix.T, np.eye(16), atol=1e-4), "orthogonal"
    assert np.allclose(matrix, rotation, atol=0.1)
    assert (found.trained, found.tested) == (140, 60)
    assert found.first.value > 0.95
    assert found.unaligned < 0.2
    shuffled = [(a, f"f{i}") for (a, _), i in zip(pairs, rng.permutation(200), strict=True)]
    assert align(one, two, shuffled)[1].first.value < 0.2, "a wrong lexicon does not look right"
    with pytest.raises(InputError, match="share 0 words"):
        align(one, two, [("a", "b")])
