"""Experiments with models that make things, made small: what they write is opened by others, and bad input is refused."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import mido
import pytest
from PIL import Image

from rung.core.errors import InputError
from rung.foundations.network.training import FitPlan
from rung.studies.lab.generative.diffusion import DiffuseDigits
from rung.studies.lab.generative.gan import AdversarialDigits
from rung.studies.lab.generative.melody import MakeMelodies
from rung.studies.lab.generative.pixels import CompareMakers
from rung.studies.study import Lab

LAB = cast("Lab", type("Quiet", (), {"progress": staticmethod(lambda _: None)})())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges that have seen the digits twice."""
    for name in ("gan", "diffusion", "pixels"):
        module = f"rung.studies.lab.generative.{name}"
        monkeypatch.setattr(f"{module}.FitPlan", lambda epochs, **rest: FitPlan(2, batch=64, rate=4e-3))


async def test_a_gan_is_judged_and_one_that_goes_wrong_is_told(tmp_path: Path) -> None:
    study = AdversarialDigits(steps=150, few=30, draws=1, failing=1e30, out=str(tmp_path))
    found = await study.measure(None, LAB)
    assert "diverged" in found.failure
    assert [row.added for row in found.augmented] == ["nothing", "shifts", "GAN", "GAN and shifts"]
    assert found.floor < found.distance
    assert Image.open(found.files[0]).size == (10 * 9 * 6 - 6,) * 2
    assert found.failure in study.table(found)


async def test_diffusion_is_judged_on_digits_and_on_a_series(tmp_path: Path) -> None:
    study = DiffuseDigits(steps=200, out=str(tmp_path))
    found = await study.measure(None, LAB)
    assert found.mean < 0.02
    assert found.variance < 0.01
    assert [row.steps for row in found.samples] == [200, 50, 10, 5]
    assert found.series.floor < found.series.noise
    assert all(Image.open(file).size for file in found.files)
    assert "closed form" in study.table(found)
    (tmp_path / "s.txt").write_text("1\n2\n" * 50)
    with pytest.raises(InputError) as caught:
        await DiffuseDigits(str(tmp_path / "s.txt")).measure(None, LAB)
    assert caught.value.code == "short-series"


async def test_diffusion_and_a_transformer_in_one_table() -> None:
    study = CompareMakers(steps=100, symbols=10)
    found = await study.measure(None, LAB)
    assert [row.steps for row in found.rows] == [64, 200, 10]
    assert found.rows[0].difference is None
    assert "copies" in study.table(found).lower()


async def test_melodies_are_written(tmp_path: Path) -> None:
    file = tmp_path / "tunes.txt"
    file.write_text(
        "\n".join(f"tune {at}: {' '.join('CDEFGAB'[(at + k) % 7] + '2' for k in range(9))}" for at in range(8))
    )
    study = MakeMelodies(str(file), make=2, folds=2, epochs=3, units=8, out=str(tmp_path / "out"))
    found = await study.measure(None, LAB)
    assert found.held == 8
    assert found.frequency.value > 2
    assert [Path(name).name for name in found.files] == ["melody-1.mid", "melody-2.mid"]
    for name, row in zip(found.files, found.made, strict=True):
        sounds = [event for event in mido.MidiFile(name).tracks[0] if event.type == "note_on"]
        assert len(sounds) == row.count
        assert 0 <= row.run <= row.count
    assert "tune" in study.table(found)
    with pytest.raises(InputError) as caught:
        await MakeMelodies(str(file), folds=5).measure(None, LAB)
    assert caught.value.code == "few-tunes"
