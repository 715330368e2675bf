"""Fusion by hand on small rankings, and that the adaptive weight goes where it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.retrieval.keyword.keyword import KeywordIndex
from rung.retrieval.rank.fuse import RANK, Fusion, fuse, share

DENSE = [("a", 0.8), ("b", 0.6), ("c", 0.4)]
WORDS = [("c", 10.0), ("a", 5.0), ("d", 4.0)]


def test_reciprocal_ranks() -> None:
    wanted = {
        "a": 1 / (RANK + 1) + 1 / (RANK + 2),
        "c": 1 / (RANK + 3) + 1 / (RANK + 1),
        "b": 1 / (RANK + 2),
        "d": 1 / (RANK + 3),
    }
    assert fuse(DENSE, WORDS, "rrf") == sorted(wanted.items(), key=lambda item: -item[1])


def test_weighted_scores_by_hand() -> None:
    found = dict(fuse(DENSE, WORDS, "weighted", 0.25))
    # Dense scores become 1, 0.5, 0; BM25's 1, 0.5, 0.4; what the words did not find counts as their last hit.
    assert found == pytest.approx({"a": 0.25 + 0.75 * 0.5, "b": 0.125 + 0.75 * 0.4, "c": 0.75, "d": 0.75 * 0.4})
    assert dict(fuse(DENSE, WORDS[:2], "weighted", 0.25))["b"] == pytest.approx(0.125), "no word of it matches"
    assert fuse(DENSE, WORDS, "weighted") == fuse(DENSE, WORDS, "weighted", 0.5)


def test_the_ends_of_the_weight_are_the_single_rankings() -> None:
    assert [id for id, _ in fuse(DENSE, WORDS, "weighted", 1.0)][:2] == ["a", "b"]
    assert [id for id, _ in fuse(DENSE, WORDS, "weighted", 0.0)][:2] == ["c", "a"]


@pytest.mark.parametrize("fusion", ["adaptive", "rrf", "weighted"])
def test_one_empty_side_leaves_the_other_as_it_is(fusion: Fusion) -> None:
    assert [id for id, _ in fuse(DENSE, [], fusion)] == ["a", "b", "c"]
    assert [id for id, _ in fuse([], WORDS, fusion)] == ["c", "a", "d"]
    assert fuse([], [], fusion) == []


@pytest.mark.parametrize("fusion", ["adaptive", "rrf", "weighted"])
@given(
    dense=st.lists(st.tuples(st.integers(0, 9), st.floats(-1, 1)), unique_by=lambda item: item[0]),
    words=st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 50)), unique_by=lambda item: item[0]),
    most=st.floats(0, 100),
)
def test_everything_found_is_ranked_once(
    fusion: Fusion, dense: list[tuple[int, float]], words: list[tuple[int, float]], most: float
) -> None:
    dense.sort(key=lambda item: (-item[1], item[0]))
    words.sort(key=lambda item: (-item[1], item[0]))
    found = fuse(dense, words, fusion, max_score=(most, 5))
    assert sorted(id for id, _ in found) == sorted({id for id, _ in [*dense, *words]})
    assert found == sorted(found, key=lambda item: (-item[1], item[0]))
    assert 0 <= share(dense, words, (most, 5)) <= 1


def test_a_quotation_goes_to_the_words_and_a_paraphrase_to_the_vectors() -> None:
    flat = [(str(n), 0.62 - 0.001 * n) for n in range(20)]
    clear = [("0", 0.93), *((str(n), 0.5 - 0.001 * n) for n in range(1, 20))]
    quoted = share(flat, [("7", 38.0), ("8", 12.0)], (60.0, 12))
    reworded = share(clear, [("7", 6.0), ("8", 5.9)], (60.0, 12))
    assert quoted < 0.1
    assert reworded > 0.7


def test_the_query_s_max_score_is_what_no_text_exceeds() -> None:
    index = KeywordIndex()
    index.add(["long", "short"], ["wing flutter " * 500, "wing of a plane"])
    most, terms = index.max_score("the flutter of a wing, unheard")
    assert terms == 3
    ((_, best), *_) = index.search("the flutter of a wing, unheard", 2)
    assert 0 < best < most
    assert index.max_score("of the") == (0, 0)


def test_wrong_weights_are_said() -> None:
    with pytest.raises(InputError, match=r"got weight 1\.5"):
        fuse(DENSE, WORDS, "weighted", 1.5)
