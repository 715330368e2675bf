from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.types import Example
from rung.prompts.select import Kind, Selector

POOL = [
    Example("0", {"text": "my card was stolen yesterday"}, "card"),
    Example("1", {"text": "my card was stolen on monday"}, "card"),
    Example("2", {"text": "where is my parcel"}, "parcel"),
    Example("3", {"text": "the parcel has not come"}, "parcel"),
    Example("4", {"text": "how do I reset the password"}, "account"),
    Example("5", {"text": "forgot my login password"}, "account"),
]


def chosen(kind: Kind, k: int, text: str) -> list[str]:
    return [example.id for example in Selector(kind, k, POOL)({"text": text})]


def test_knn_puts_the_nearest_last() -> None:
    assert chosen("knn", 2, "somebody stole my card, it was stolen yesterday") == ["1", "0"]


def test_mmr_avoids_what_repeats() -> None:
    near = chosen("knn", 2, "card stolen, and where is my parcel")
    spread = [example.id for example in Selector("mmr", 2, POOL, diversity=0.7)({"text": "card stolen, my parcel"})]
    assert set(near) == {"0", "1"} or "2" in near
    assert len({POOL[int(i)].reference for i in spread}) == 2


def test_random_is_one_balanced_draw_for_every_input() -> None:
    selector = Selector("random", 3, POOL, seed=1)
    assert selector({"text": "a"}) == selector({"text": "b"})
    assert {example.reference for example in selector("a")} == {"card", "parcel", "account"}
    assert Selector("random", 3, POOL, seed=1)("a") == selector("a")


def test_k_larger_than_the_pool_is_the_pool() -> None:
    assert len(chosen("knn", 99, "card")) == len(POOL)
    assert len(chosen("mmr", 99, "card")) == len(POOL)


def test_with_k_selects_like_a_new_selector() -> None:
    for kind in get_args(Kind):
        wide = Selector(kind, 4, POOL)
        assert wide.with_k(2)("card stolen") == Selector(kind, 2, POOL)("card stolen")


def test_fixed_always_shows_the_same() -> None:
    assert Selector.fixed(POOL[:2])("anything") == tuple(POOL[:2])


def test_coverage_shows_each_part_of_the_input() -> None:
    text = "my card was stolen yesterday, and I forgot my login password"
    assert set(chosen("coverage", 2, text)) == {"0", "5"}
    assert len(chosen("coverage", 99, text)) == len(POOL)
    assert len(chosen("coverage", 3, "zzz qqq")) == 3  # nothing to cover: labels in turn
    assert len({POOL[int(i)].reference for i in chosen("coverage", 3, "zzz qqq")}) == 3


@pytest.mark.parametrize("kind", get_args(Kind))
def test_near_duplicates_of_the_input_are_not_shown(kind: Kind) -> None:
    twin = "My card was stolen yesterday!"
    shown = Selector(kind, 6, POOL, exclude=0.8)(twin)
    assert "0" not in [example.id for example in shown]
    assert len(shown) == 5
    assert "0" in [example.id for example in Selector(kind, 6, POOL)(twin)]
    with pytest.raises(InputError, match="0 to 1"):
        Selector(kind, 2, POOL, exclude=2.0)


def test_twins_of_the_input_do_not_cost_places() -> None:
    pool = [Example(f"twin{i}", {"text": "the same words again and again" + "!" * i}, "x") for i in range(300)] + POOL
    shown = Selector("knn", 4, pool, exclude=0.8)("the same words again and again")
    assert len(shown) == 4
    assert not any(example.id.startswith("twin") for example in shown)


class Halves:
    """Vectors by hand: how much of a text is about cards."""

    name = fingerprint = "halves"
    dimensions = 2

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = np.array([[1.0, 4.0 * text.count("card")] for text in texts], np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


@pytest.mark.parametrize("kind", ["knn", "mmr"])
def test_an_embedder_is_searched_in_the_same_way(kind: Kind) -> None:
    shown = Selector(kind, 2, POOL, embedder=Halves(), diversity=0.0)("card")
    assert {example.reference for example in shown} == {"card"}
    shown = Selector(kind, 2, POOL, embedder=Halves(), diversity=0.0, exclude=0.8)("My card was stolen yesterday!")
    assert "0" not in [example.id for example in shown]
    assert len(shown) == 2


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_pool_lies_in_a_file_and_a_draw_in_the_spec(kind: Kind) -> None:
    selector = Selector(kind, 2, POOL)
    assert len(selector.files()) == (kind != "random")
    assert ("parcel has not" in canonical(selector.spec())) == (kind == "random" and POOL[3] in selector.shown)
    for name, content in selector.files().items():
        assert selector.spec()["pool"] == name
        assert content.count(b"\n") == len(POOL)
    if kind != "random":
        assert selector.with_k(1).files() == selector.files()
        assert Selector(kind, 2, POOL[:5]).files().keys() != selector.files().keys()


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_pool_of_nothing_but_twins_shows_nothing(kind: Kind) -> None:
    assert Selector(kind, 2, POOL[:2], exclude=0.3)("my card was stolen yesterday") == ()
