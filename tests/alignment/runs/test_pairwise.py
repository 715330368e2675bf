"""Preference optimisation on a table: what is preferred becomes probable, distance is measured exactly and has a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.alignment.methods.dpo import Dpo
from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import TablePolicy
from rung.alignment.runs.course import Course
from rung.alignment.runs.loop import Pacing
from rung.alignment.runs.pairwise import PairLearner, TokenPair
from rung.tuning.trainer.checkpoints import Checkpoints


def one(state: int, *actions: int) -> Trajectory:
    return Trajectory(0, (state,) * len(actions), actions, (0.0,) * len(actions))


PAIRS = [TokenPair(str(at), one(at % 3, 0, 1), one(at % 3, 2)) for at in range(24)]
PACE = Pacing(rate=0.1, looks=0, budget=0)


def make(pace: Pacing = PACE, **options: float) -> PairLearner:
    return PairLearner(TablePolicy(3, 4), PAIRS, Dpo(epochs=3, pairs=4, **options), pace)


def test_what_is_preferred_becomes_probable(tmp_path: Path) -> None:
    learner = make()
    course = learner.run(Checkpoints(tmp_path, "k", Course))
    assert course.stopped == "all pairs learnt"
    assert course.updates[-1].parts["loss"] < course.updates[0].parts["loss"]
    verdict = learner.judge(PAIRS)
    assert (verdict.accuracy, verdict.margin > 0) == (1.0, True)
    policy = learner.policy
    mine = torch.softmax(policy.vector.view(3, 4), 1)  # every state is taken alike often but for its own pairs
    assert bool((mine[:, 0] > mine[:, 2]).all())


def test_distance_is_that_over_all_actions(tmp_path: Path) -> None:
    learner = make()
    learner.policy.set(torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    update = learner._step(0)
    odds = torch.softmax(torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).view(3, 4), 1)
    states = torch.tensor(
        [state for pair in learner._chosen(0) for state in (*pair.chosen.context, *pair.rejected.context)]
    )
    assert update.kl == pytest.approx(float((odds * (odds * 4).log()).sum(1)[states].mean()))


def test_a_run_beyond_its_budget_goes_back(tmp_path: Path) -> None:
    learner = make(replace(PACE, rate=0.5, budget=0.3))
    course = learner.run(Checkpoints(tmp_path, "k", Course))
    assert course.flagged
    assert course.updates[-1].kl > 0.3
    assert all(update.kl <= 0.3 for update in course.updates[:-1])
    assert torch.equal(learner.policy.vector, learner.good)


def test_a_cut_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = make()
    whole.run(Checkpoints(tmp_path / "whole", "k", Course))
    cut = make()
    step, left = cut._step, iter(range(7))

    def breaks(at: int) -> object:
        next(left)
        return step(at)

    cut._step = breaks  # type: ignore[method-assign, assignment]
    with pytest.raises(StopIteration):
        cut.run(Checkpoints(tmp_path / "cut", "k", Course))
    again = make()
    assert again.run(Checkpoints(tmp_path / "cut", "k", Course)).resumed == 7
    assert torch.equal(again.policy.vector, whole.policy.vector)
