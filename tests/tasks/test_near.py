"""The near-duplicate join against a brute-force reading of its definition."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from rung.tasks import near
from rung.tasks.identity import identity


def jaccard(left: str, right: str) -> float:
    def shingles(text: str) -> set[str]:
        text = identity(text)
        return {text[i : i + 5] for i in range(len(text) - 4)} if len(text) >= 5 else {text}

    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b)


def brute(rows: list[tuple[str, ...]], threshold: float) -> list[int]:
    parent = list(range(len(rows)))

    def find(item: int) -> int:
        while parent[item] != item:
            item = parent[item]
        return item

    for j in range(len(rows)):
        for i in range(j):
            if all(jaccard(a, b) >= threshold - 1e-9 for a, b in zip(rows[i], rows[j], strict=True)):
                one, two = find(i), find(j)
                parent[max(one, two)] = min(one, two)
    return [find(item) for item in range(len(rows))]


words = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "with", "two", "red", "hats"]), max_size=12
).map(" ".join)


@given(st.lists(st.tuples(words, words), max_size=14), st.sampled_from([0.5, 0.8, 1.0]))
def test_clusters_equal_brute_force(rows: list[tuple[str, ...]], threshold: float) -> None:
    assert near.clusters(rows, threshold)[1].tolist() == brute(rows, threshold)


def edited(text: str, chance: random.Random) -> str:
    words = text.split()
    words[chance.randrange(len(words))] = "otherwise"
    return " ".join(words)


def test_planted_near_duplicates_are_all_found() -> None:
    chance = random.Random(5)
    vocabulary = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(vocabulary, k=30)) for _ in range(1500)]
    copies = [edited(text, chance) for text in texts]
    planted = [i for i, (text, copy) in enumerate(zip(texts, copies, strict=True)) if jaccard(text, copy) >= 0.8]
    assert len(planted) > 1000
    found = near.clusters([(text,) for text in texts + copies])[1]
    assert all(found[i] == found[i + len(texts)] for i in planted)
    assert len(set(found.tolist())) == 2 * len(texts) - len(planted)


def test_case_punctuation_and_width_do_not_make_a_text_different() -> None:
    exact, _, _ = near.clusters([("Where's  my CARD?",), ("where s my card",), ("ｗhere's my card!",), ("my card",)])
    assert exact.tolist() == [0, 0, 0, 3]


def test_two_fields_must_both_be_alike() -> None:
    passage = "the same long passage about the history of the town and its river " * 4
    rows = [
        (passage, "When was the bridge built?"),
        (passage, "Who paid for the tower?"),
        (passage, "When was the bridge built"),
    ]
    assert near.clusters(rows)[1].tolist() == [0, 1, 0]


def test_groups_join_and_none_is_no_group() -> None:
    rows = [("alpha one",), ("beta two",), ("gamma three",), ("delta four",)]
    _, alike, whole = near.clusters(rows, 0.8, ["a", None, "a", None])
    assert alike.tolist() == [0, 1, 2, 3]
    assert whole.tolist() == [0, 1, 0, 3]


def test_empty_and_single() -> None:
    assert near.clusters([])[2].tolist() == []
    assert near.clusters([("",), ("",), ("x",)])[2].tolist() == [0, 0, 2]
    assert near.clusters([("a b c d e f g",), ("a b c d e f g h",)], None)[2].tolist() == [0, 1]


def test_ten_thousand_rows_of_one_template_are_one_cluster_in_linear_time() -> None:
    chance = random.Random(1)
    rows = [
        (f"Please cancel my order number {chance.randrange(10**6)} at once and refund the money to my card",)
        for _ in range(10_000)
    ]
    began = time.process_time()
    assert set(near.clusters(rows)[1].tolist()) == {0}
    assert time.process_time() - began < 5
