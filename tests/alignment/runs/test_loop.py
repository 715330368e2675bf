"""The loop on a bandit: rewards rise by every method, bounds hold, a cut run goes on to the same bits, a cheated reward is stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rung.alignment.methods.method import AlignMethod
from rung.alignment.methods.names import METHODS
from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import TablePolicy
from rung.alignment.runs.align import align
from rung.alignment.runs.config import understand
from rung.alignment.runs.course import Course, Spectator, Update
from rung.alignment.runs.loop import Learner, Pacing
from rung.core.errors import FitError, InputError
from rung.core.settings import Settings
from rung.models import Pool
from rung.tuning.trainer.checkpoints import Checkpoints
from tests.alignment.bandit import Bandit

WORTH = np.random.default_rng(7).uniform(size=(4, 5))
PACE = Pacing(steps=30, rate=0.2, looks=0, budget=0)


def make(method: AlignMethod, worth: np.ndarray = WORTH, pace: Pacing = PACE, **options: object) -> Learner:
    policy = TablePolicy(*worth.shape)
    watchman = options.pop("watchman", None)
    return Learner(policy, Bandit(policy, worth, **options), method, pace, watchman)  # type: ignore[arg-type]


def store(folder: Path, key: str = "k") -> Checkpoints[Course]:
    return Checkpoints(folder, key, Course)


def untimed(course: Course) -> tuple[Update, ...]:
    return tuple(replace(update, seconds=0.0, cpu_seconds=0.0) for update in course.updates)


@pytest.mark.parametrize("name", list(METHODS))
def test_the_reward_rises_and_steps_stay_within_their_bound(name: str, tmp_path: Path) -> None:
    method = METHODS[name]()
    learner = make(method)
    course = learner.run(store(tmp_path))
    best = WORTH.max(1).mean()
    assert course.updates[0].reward < 0.75 * best
    assert np.mean([update.reward for update in course.updates[-3:]]) > (0.85 if name == "trpo" else 0.93) * best
    assert course.stopped == "all updates done"
    assert all(update.kl >= -1e-9 and update.entropy <= np.log(5) + 1e-9 for update in course.updates)
    if name == "trpo":
        moved = [update.moved for update in course.updates]
        assert all(value is not None and value <= method.bound for value in moved)  # type: ignore[attr-defined]
        assert any(update.fraction for update in course.updates)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_run_that_was_cut_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    pace = replace(PACE, steps=8)
    whole = make(METHODS[name](), pace=pace)
    course = whole.run(store(tmp_path / "whole"))

    cut = make(METHODS[name](), pace=pace)
    play, count = cut.player.play, iter(range(100))

    async def breaks(step: int) -> list[Trajectory]:
        if next(count) == 5:
            raise RuntimeError("killed")
        return await play(step)

    cut.player.play = breaks  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        cut.run(store(tmp_path / "cut"))
    again = make(METHODS[name](), pace=pace)
    resumed = again.run(store(tmp_path / "cut"))
    assert resumed.resumed == 5
    assert torch.equal(again.policy.vector, whole.policy.vector)
    assert untimed(resumed) == untimed(course)

    make(METHODS[name](), pace=replace(pace, steps=5)).run(store(tmp_path / "short"))
    longer = make(METHODS[name](), pace=pace)
    assert longer.run(store(tmp_path / "short")).resumed == 5
    assert torch.equal(longer.policy.vector, whole.policy.vector)


def test_a_reward_that_is_always_the_same_ends_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FitError) as caught:
        make(METHODS["rloo"](), np.ones((2, 3))).run(store(tmp_path))
    assert caught.value.code == "no-spread"
    short = make(METHODS["rloo"](), np.ones((2, 3)), pace=Pacing(steps=2)).run(store(tmp_path / "short"))
    assert "none could teach anything" in short.stopped


def test_a_run_beyond_its_budget_of_distance_goes_back(tmp_path: Path) -> None:
    learner = make(METHODS["rloo"](), pace=Pacing(steps=30, rate=0.5, budget=0.3, looks=1))
    course = learner.run(store(tmp_path))
    assert course.flagged
    assert course.step < 30
    assert torch.equal(learner.policy.vector, learner.good)


def test_the_distance_that_is_told_is_that_of_what_was_kept(tmp_path: Path) -> None:
    given = {"method": "rloo", "environment": {"name": "gridworld", "size": 3, "map": 1}, "steps": 40, "budget": 0.05,
             "rate": 0.1, "looks": 1, "held": 4, "max_tokens": 12, "out": "grid"}  # fmt: skip
    done = align(understand(given, tmp_path), Pool(Settings()), Settings())
    assert done.course.flagged
    assert done.course.updates[-1].kl > 0.05 >= done.kl > 0


@pytest.mark.parametrize("wrong", [{"held": 0}, {"replies": 0}, {"temperature": 0.0}, {"reward": "exact"}])
def test_a_setting_that_cannot_be_is_refused_before_anything_is_played(
    wrong: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        understand({"method": "reinforce", "environment": "gridworld"} | wrong, tmp_path)
    assert caught.value.code == "setting"


def test_a_stop_is_kept(tmp_path: Path) -> None:
    import threading

    stop = threading.Event()
    learner = make(METHODS["rloo"]())
    with pytest.raises(FitError) as caught:
        learner.run(
            store(tmp_path), Spectator(record=lambda update: stop.set() if update.step == 3 else None, stop=stop)
        )
    assert caught.value.code == "stopped"
    assert make(METHODS["rloo"]()).run(store(tmp_path)).resumed == 3


def test_a_critic_lowers_the_variance_of_the_gradient(tmp_path: Path) -> None:
    """Contexts of unlike worth: a value for each explains what one number for all cannot."""
    worth = np.array([[0.0, 0.1], [5.0, 5.1], [-5.0, -4.9]])

    def variance(name: str) -> float:
        learner = make(METHODS[name](), worth, Pacing(steps=12, rate=1e-9, norm=1e9, looks=0))
        slopes = []
        push = learner.policy.push

        def keep(batch: object, coefficients: torch.Tensor) -> None:
            push(batch, coefficients)  # type: ignore[arg-type]
            slopes.append(learner.policy.grad.clone())

        learner.policy.push = keep  # type: ignore[method-assign]
        learner.run(store(tmp_path / name))
        # The same scale: both are means over the same number of one-action episodes.
        return float(torch.stack(slopes[4:]).var(0).sum())

    assert variance("ppo") < 0.2 * variance("reinforce")
