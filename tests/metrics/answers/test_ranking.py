"""Measures of ranked lists against values worked out by hand and against scikit-learn's nDCG."""

from __future__ import annotations

import random
from math import log2

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from rung.core.errors import InputError
from rung.core.types import Case
from rung.metrics import load_metric, stats
from rung.metrics.answers.ranking import HitRate, Map, Mrr, Ndcg, Precision, Ranking, RecallAt
from tests.metrics.material import Shelf

RANKED = ["a", "x", "b", "y", "c"]
GRADED = {"a": 1, "b": 3, "c": 2, "d": 2, "e": 0}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (RecallAt("3"), 2 / 4),
        (RecallAt(), 3 / 4),
        (Precision("3"), 2 / 3),
        (Precision("10"), 3 / 10),
        (HitRate("1"), 1.0),
        (Mrr(), 1.0),
        (Map(), (1 / 1 + 2 / 3 + 3 / 5) / 4),
        (Ndcg("3"), (1 + 3 / 2) / (3 + 2 / log2(3) + 2 / 2)),
        (Ndcg("10"), (1 + 3 / 2 + 2 / log2(6)) / (3 + 2 / log2(3) + 2 / 2 + 1 / log2(5))),
    ],
    ids=lambda value: value.name if isinstance(value, Ranking) else "",
)
async def test_values_by_hand(metric: Ranking, value: float) -> None:
    (score,) = await metric.score([Case({}, RANKED, GRADED)])
    assert score.value == pytest.approx(value)


@pytest.mark.parametrize("k", [1, 5, 10, 100])
async def test_ndcg_is_scikit_learns(k: int) -> None:
    rng = random.Random(k)
    ids = [f"d{number}" for number in range(40)]
    for _ in range(30):
        order = rng.sample(ids, len(ids))
        reference = {id: rng.choice((0, 0, 0, 1, 2, 3)) for id in ids}
        if not any(reference.values()):
            continue
        truth = np.array([[reference[id] for id in ids]])
        scores = np.array([[-order.index(id) for id in ids]])
        (score,) = await Ndcg(str(k)).score([Case({}, order, reference)])
        assert score.value == pytest.approx(ndcg_score(truth, scores, k=k))


async def test_an_id_that_comes_again_counts_once() -> None:
    for metric in (RecallAt(), Precision("3"), Ndcg("3"), Map()):
        (once,) = await metric.score([Case({}, ["a", "x", "y"], ["a", "b"])])
        (again,) = await metric.score([Case({}, ["a", "a", "a"], ["a", "b"])])
        assert again.value == once.value


async def test_references_may_be_ids_a_single_id_or_none() -> None:
    cases = [
        Case({}, ["a", "b"], ("b",)),
        Case({}, ["a", "b"], "b"),
        Case({}, ["a", "b"], {"b": 0.5}),
        Case({}, ["a", "b"], {"b": 0}),
        Case({}, "b", ["b"]),
        Case({}, None, ["b"]),
    ]
    assert [score.value for score in await Mrr().score(cases)] == [0.5, 0.5, 0.5, 0, 1, 0]
    assert "no relevant id" in (await Mrr().score(cases))[3].why


async def test_intervals_and_paired_differences_work_on_them() -> None:
    metric = load_metric("recall:2", Shelf())
    rng = random.Random(0)
    good = [Case({}, ["a", rng.choice("bx")], ["a", "b"]) for _ in range(60)]
    bad = [Case({}, ["x", rng.choice("by")], ["a", "b"]) for _ in range(60)]
    a, b = await metric.score(good), await metric.score(bad)
    assert stats.interval(metric, a).low > stats.interval(metric, b).high
    assert not stats.paired(metric, a, b).none


@pytest.mark.parametrize("wrong", ["0", "-1", "ten", "1.5"])
def test_a_wrong_cut_is_said(wrong: str) -> None:
    with pytest.raises(InputError, match="expected a number above 0"):
        load_metric(f"ndcg:{wrong}", Shelf())
