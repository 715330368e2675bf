"""Slopes against finite differences, and a descent that arrives."""

from __future__ import annotations

import numpy as np
import pytest

from rung.foundations.network.tape import Traced, differences
from rung.studies.lab.language.gradients import OPERATIONS, check, descend


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_operation_has_the_slope_of_finite_differences(name: str) -> None:
    assert check(OPERATIONS[name], np.random.default_rng(7)) < 1e-6


def test_a_wrong_slope_is_seen() -> None:
    def wrong(a: Traced, b: Traced) -> Traced:
        return Traced((a.value**2).sum(), ((a, lambda slope: slope * a.value),))  # 2 is missing

    assert check(wrong, np.random.default_rng(0)) > 0.1


def test_what_is_moved_is_put_back() -> None:
    value = np.array([[1.0, 2.0]])
    assert np.allclose(differences(lambda: float((value**2).sum()), value), [[2, 4]])
    assert value.tolist() == [[1, 2]]


def test_xor_is_learnt() -> None:
    losses, answers = descend(1000, 0.5, np.random.default_rng(0))
    assert losses[-1] < 0.01 < losses[0]
    assert [answer > 0.5 for answer in answers] == [False, True, True, False]
