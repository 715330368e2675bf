from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.system.machine import Machine, machine
from rung.tuning.batches import TokenRow
from rung.tuning.checks import forecast
from rung.tuning.compute import precision
from rung.tuning.compute.session import open_session
from rung.tuning.trainer.loop import identity
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.tune import Tune
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE

PLAIN = Machine("Linux", "x86_64", "some processor", ("sse4_2", "avx", "f16c", "fma", "avx2"), 2, 8 << 30)
NATIVE = replace(PLAIN, features=(*PLAIN.features, "avx512f", "avx512_vnni", "avx512_bf16"))


@pytest.mark.parametrize(
    ("here", "factor", "asked", "taken", "warned"),
    [
        (PLAIN, 0.2, "auto", "fp32", False),
        (PLAIN, 2.0, "auto", "fp32", False),  # a probe alone does not decide: it may have been disturbed
        (NATIVE, 3.5, "auto", "bf16", False),
        (NATIVE, 1.1, "auto", "fp32", False),
        (PLAIN, 0.2, "bf16", "bf16", True),
        (NATIVE, 3.5, "bf16", "bf16", False),
        (NATIVE, 3.5, "fp32", "fp32", False),
    ],
)
def test_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch, here: Machine, factor: float, asked: str, taken: str, warned: bool
) -> None:
    monkeypatch.setattr(precision, "machine", lambda: here)
    monkeypatch.setattr(precision, "factor", lambda: factor)
    choice = precision.choose(asked)
    assert choice.precision == taken
    assert bool(choice.warning) is warned
    assert not warned or "5.0 times as long" in choice.warning


def test_a_fit_is_named_by_what_was_chosen(monkeypatch: pytest.MonkeyPatch, tiny: Base, rows: list[TokenRow]) -> None:
    monkeypatch.setattr(precision, "factor", lambda: 3.5)
    keys = []
    for here in (PLAIN, NATIVE):
        monkeypatch.setattr(precision, "machine", lambda here=here: here)
        keys.append(identity(tiny, rows, [], Recipe()))
        settled = Tune().settle()
        assert settled.precision in ("fp32", "bf16")
        assert identity(tiny, rows, [], Recipe(precision=settled.precision)) == keys[-1]  # type: ignore[arg-type]
    assert keys[0] != keys[1]


@pytest.mark.skipif(not machine().bfloat16, reason="bfloat16 is emulated here already")
@pytest.mark.slow
def test_emulated_bfloat16_shows_in_the_probe() -> None:
    code = "from rung.tuning.compute.precision import choose, factor; print(factor(), choose().precision)"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    factor, taken = done.stdout.split()
    assert float(factor) < 0.8
    assert taken == "fp32"


def test_a_figure_is_held_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = forecast.figure_key("tokens", 3)
    assert forecast.recall(tmp_path / "cache", key) is None
    forecast.remember(tmp_path / "cache", key, 12.5)
    forecast.remember(tmp_path / "cache", "other", 1.0)
    assert forecast.recall(tmp_path / "cache", key) == forecast.recall(tmp_path / "cache", key, forecast.HELD) == 12.5
    measured = time.time()
    for passed in (forecast.HELD + 1, -60.0):  # too long ago, or by a clock that was set back
        monkeypatch.setattr(time, "time", lambda passed=passed: measured + passed)
        assert forecast.recall(tmp_path / "cache", key, forecast.HELD) is None
        assert forecast.recall(tmp_path / "cache", key) == 12.5
    (tmp_path / "cache" / forecast.FILE).write_text("[1, 2")
    assert forecast.recall(tmp_path / "cache", key) is None
    (tmp_path / "file").write_text("")
    forecast.remember(tmp_path / "file" / "cache", key, 1.0)  # cannot be written: no error


def test_what_comes_beside_a_training_is_as_fast_as_its_steps(tiny: Base, tmp_path: Path) -> None:
    assert forecast.finishing(tiny, "q8", RECIPE, tmp_path) == forecast.FINISH
    speed = forecast.speed_key(tiny, RECIPE)
    forecast.remember(tmp_path, speed, 100.0)  # a busy hour
    forecast.finished(tiny, "q8", RECIPE, 60.0, tmp_path)
    forecast.remember(tmp_path, speed, 300.0)
    assert forecast.finishing(tiny, "q8", RECIPE, tmp_path) == pytest.approx(20.0)
    assert forecast.finishing(tiny, "f16", RECIPE, tmp_path) == forecast.FINISH


def test_a_forecast_counts_what_will_be_computed(tiny: Base, rows: list[TokenRow]) -> None:
    session = open_session(tiny, RECIPE)
    before = session.vector.clone()
    assert forecast.measure(session, rows, RECIPE) > 0
    assert bool((session.vector == before).all())
    assert not session.grad.any()
    whole = forecast.seconds(rows, [], RECIPE, 100.0, 0.0)
    assert whole == pytest.approx(forecast.computed(rows, RECIPE) / 100)
    assert forecast.seconds(rows, [], replace(RECIPE, epochs=6), 100.0, 0.0) == pytest.approx(2 * whole)
    assert forecast.seconds(rows, rows[:2], RECIPE, 100.0, 0.0) > whole
    assert forecast.seconds(rows, [], RECIPE, 100.0, 0.5) > whole
