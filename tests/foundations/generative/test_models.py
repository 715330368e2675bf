"""Small trainings: what is made is of the right shape and kind, what goes wrong is said, and the judges judge."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from rung.core.errors import FitError, InputError
from rung.foundations.generative import diffusion, gan
from rung.foundations.generative.diffusion import DiffusionPlan, NoiseSchedule
from rung.foundations.generative.gan import GanPlan
from rung.foundations.generative.judge import PictureJudge, frechet, nearest, novelty
from rung.foundations.generative.pixels import PixelTransformer
from rung.foundations.language.training import TrainingPlan
from rung.foundations.network.convolution import digits
from rung.foundations.network.training import FitPlan

RNG = np.random.default_rng(0)
BARS = np.zeros((200, 4, 4, 1), np.float32)
KINDS = np.arange(200) % 2
BARS[KINDS == 0, 1] = 1
BARS[KINDS == 1, :, 2] = 1
BARS = np.clip(BARS * RNG.uniform(0.7, 1, (200, 1, 1, 1)), 0, 1).astype(np.float32)
"""Pictures of a row (kind 0) or a column (kind 1)."""


def like(made: np.ndarray, kinds: np.ndarray) -> float:
    """Share of pictures nearest to one of the kind that was asked for."""
    return float((KINDS[nearest(made, BARS)[1]] == kinds).mean())


def test_the_frechet_distance_is_the_one_of_its_definition() -> None:
    one, other = RNG.normal(size=(300, 5)), RNG.normal(1, 2, size=(200, 5)) @ RNG.normal(size=(5, 5))
    a, b = np.cov(one.T), np.cov(other.T)
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(one, other) == pytest.approx(float(wanted), rel=1e-6)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)


def test_copies_are_seen() -> None:
    real, held = RNG.normal(size=(100, 6)), RNG.normal(size=(100, 6))
    assert novelty(real[:50], real, held).copies == 1
    assert novelty(RNG.normal(size=(100, 6)), real, held).copies < 0.1
    off, at = nearest(real[[3]] + 0.01, real)
    assert at[0] == 3
    assert off[0] == pytest.approx(0.01 * 6**0.5)


def test_the_forward_process_is_its_closed_form() -> None:
    schedule, x = NoiseSchedule.cosine(30), np.full((20_000, 1), 0.8)
    assert schedule.kept[0] == 1
    assert schedule.kept[-1] < 1e-3
    for t in (1, 12, 30):
        chained, closed = (
            schedule.chain(x, t, RNG),
            schedule.forward(x, np.full(len(x), t), RNG.normal(size=x.shape)),
        )
        for made in (chained, closed):
            assert made.mean() == pytest.approx(0.8 * schedule.kept[t] ** 0.5, abs=0.02)
            assert made.var() == pytest.approx(1 - schedule.kept[t], abs=0.02)


def test_diffusion_makes_what_is_asked_for_in_many_steps_and_in_few() -> None:
    rows = BARS.reshape(200, -1) * 2 - 1
    model = diffusion.train(rows, KINDS, DiffusionPlan(600, units=64, noise=40))
    asked = np.arange(100) % 2
    for steps in (0, 8):
        made = model.sample(asked, steps=steps) / 2 + 0.5
        assert made.shape == (100, 16)
        assert like(made, asked) > 0.9
    assert (model.sample(asked, seed=4) == model.sample(asked, seed=4)).all()
    with pytest.raises(InputError):
        model.sample(np.array([2]))


def test_diffusion_of_rows_that_are_none() -> None:
    for rows in (BARS, np.full((5, 4), 3.0), np.full((5, 4), np.nan), np.zeros((1, 4))):
        with pytest.raises(InputError):
            diffusion.train(rows)
    with pytest.raises(FitError) as caught, np.errstate(all="ignore"):
        diffusion.train(np.zeros((9, 4)), None, DiffusionPlan(200, rate=1e30))
    assert caught.value.code == "diverged"


def test_a_gan_learns_its_kinds_and_keeps_its_best() -> None:
    made = gan.train(BARS, KINDS, GanPlan(900, look=100, units=48))
    asked = np.arange(60) % 2
    assert made.sample(asked).shape == (60, 4, 4, 1)
    assert like(made.sample(asked), asked) > 0.8
    assert made.best == min(made.looks, key=lambda look: look.distance).step


def test_a_gan_that_goes_wrong_is_stopped_and_its_best_is_kept() -> None:
    with np.errstate(all="ignore"):
        broken = gan.train(BARS, KINDS, GanPlan(4000, look=100, rate=1e30))
        wild = gan.train(BARS, KINDS, GanPlan(4000, look=50, units=48, rate=0.3))
    for found in (broken, wild):
        assert found.stopped
        assert found.looks[-1].step < 4000
        assert np.isfinite(found.sample(np.arange(4) % 2)).all()


@pytest.mark.parametrize("pictures", [BARS[:1], BARS * 3, np.full_like(BARS, np.nan)])
def test_a_gan_of_pictures_that_are_none(pictures: np.ndarray) -> None:
    with pytest.raises(InputError):
        gan.train(pictures, KINDS[: len(pictures)])


def test_a_transformer_makes_pictures_pixel_by_pixel() -> None:
    pytest.importorskip("torch")
    model = PixelTransformer.train(BARS, KINDS, TrainingPlan(steps=60, rate=1e-2))
    asked = np.arange(60) % 2
    made = model.sample(asked)
    assert made.shape == (60, 4, 4, 1)
    assert like(made, asked) > 0.8
    with pytest.raises(InputError):
        model.sample(np.array([2]))


def test_a_judge_of_digits() -> None:
    (pictures, labels), (held, truth) = digits()
    judge = PictureJudge.fit(pictures, labels, FitPlan(3, batch=32, rate=4e-3))
    assert judge.agrees(held, truth).mean() > 0.9
    real, noise = judge.distance(pictures[:400], held), judge.distance(RNG.uniform(size=(400, 8, 8, 1)), held)
    assert real < 0.3 * noise
