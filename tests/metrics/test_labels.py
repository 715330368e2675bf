from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from rung.core.types import Case, Failure
from rung.metrics.labels import MACRO_F1, MICRO_F1

LABELS = ["card arrival", "pin blocked", "top up", "fee", "other"]
NONE = "<no prediction>"


async def scored(truth: list[str], said: list[str]) -> list[object]:
    cases = [
        Case({}, None, t, failure=Failure("parse", "no label")) if s == NONE else Case({}, s, t)
        for t, s in zip(truth, said, strict=True)
    ]
    macro, micro = await MACRO_F1.score(cases), await MICRO_F1.score(cases)
    assert macro == micro
    return [macro, float(MACRO_F1.reduce(macro)[0]), float(MICRO_F1.reduce(micro)[0])]


@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "never a reference", NONE])),
        min_size=1,
        max_size=60,
    )
)
async def test_equal_to_scikit_learn(rows: list[tuple[str, str]]) -> None:
    truth, said = [t for t, _ in rows], [s for _, s in rows]
    _, macro, micro = await scored(truth, said)
    expected = f1_score(truth, said, average="macro", labels=np.unique(truth), zero_division=0)
    assert macro == pytest.approx(expected)
    known = sorted({*truth, *said} - {NONE})
    assert micro == pytest.approx(f1_score(truth, said, average="micro", labels=known, zero_division=0))
    if NONE not in said:
        assert micro == pytest.approx(accuracy_score(truth, said))


async def test_resamples_equal_scikit_learn_on_the_resampled_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(LABELS, 40)
    said = np.where(rng.random(40) < 0.6, truth, rng.choice([*LABELS, "else"], 40))
    scores = await MACRO_F1.score([Case({}, str(s), str(t)) for t, s in zip(truth, said, strict=True)])
    draws = rng.integers(0, 40, (30, 40))
    expected = [
        f1_score(truth[row], said[row], average="macro", labels=np.unique(truth[row]), zero_division=0) for row in draws
    ]
    assert MACRO_F1.reduce(scores, draws) == pytest.approx(expected)


async def test_scores_of_separate_runs_can_be_joined() -> None:
    first = await MACRO_F1.score([Case({}, "a", "a"), Case({}, "b", "a")])
    second = await MACRO_F1.score([Case({}, "b", "b"), Case({}, "a", "b"), Case({}, "b", "b")])
    expected = f1_score(list("aabbb"), list("abbab"), average="macro")
    assert MACRO_F1.reduce([*first, *second])[0] == pytest.approx(expected)


async def test_the_reference_that_was_hit_counts() -> None:
    (score,) = await MACRO_F1.score([Case({}, "b", ["a", "b"])])
    assert score.value == 1
    assert MACRO_F1.reduce([score])[0] == 1
