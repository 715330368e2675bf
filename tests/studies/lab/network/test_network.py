"""Experiments with networks, made small: their figures are what they say, and bad input is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from rung.core.errors import InputError
from rung.studies.lab.network.parts import PartsOfNetwork
from rung.studies.lab.network.series import ForecastSeries, load_series
from rung.studies.lab.network.vision import SeePictures
from rung.studies.study import Lab

LAB = cast("Lab", type("Quiet", (), {"progress": staticmethod(lambda _: None)})())


async def test_parts_learn_and_their_gradients_are_right() -> None:
    study = PartsOfNetwork(epochs=3, hidden=16)
    found = await study.measure(None, LAB)
    assert max(dict(found.gradients).values()) < 1e-6
    assert dict(found.xor)["none"] > 0.6
    assert max(loss for name, loss in found.xor if name != "none") < 0.1
    frequent, _, network = found.texts
    assert network.accuracy.value > frequent.accuracy.value
    assert frequent.network is not None
    assert "support-intent" in study.table(found)


async def test_a_task_without_labels_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        await PartsOfNetwork("support-reply").measure(None, LAB)
    assert caught.value.code == "labels"


async def test_pictures_are_seen(tmp_path: Path) -> None:
    study = SeePictures(epochs=2, drawn=60, passes=3, size=16, out=str(tmp_path / "new"))
    found = await study.measure(None, LAB)
    assert found.digits.value > 0.7
    assert 0 <= found.boxes.value <= 1
    (file,) = found.files
    assert Image.open(io.BytesIO(Path(file).read_bytes())).size[0] == 8 * 17 * 6 - 6
    assert file in study.table(found)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError):
        await SeePictures(epochs=1, drawn=10, passes=3, size=16, out=str(tmp_path / "file")).measure(None, LAB)


async def test_a_series_is_forecast(tmp_path: Path) -> None:
    file = tmp_path / "wave.txt"
    wave = 9 + np.sin(np.arange(300) * 2 * np.pi / 12)
    file.write_text("# a wave\n" + "\n".join(f"{value:.4f}" for value in wave))
    study = ForecastSeries(str(file), horizon=3, season=12, epochs=30, out=str(tmp_path))
    found = await study.measure(None, LAB)
    naive, seasonal, lstm = found.rows
    assert naive.error.value == pytest.approx(1)
    assert seasonal.error.value < 0.01
    assert lstm.error.value < 0.8
    assert (found.origins, found.chosen) == (30, "seasonal")
    assert naive.differences["seasonal"].value == pytest.approx(-seasonal.differences["naive"].value)
    assert "wave.txt" in study.table(found)


def test_the_series_that_comes_along_has_no_gap() -> None:
    values = load_series("requests")
    assert len(values) == 2016
    assert values.min() > 300


@pytest.mark.parametrize(("text", "line"), [("1\n2\nx\n", 3), ("1\nnan\n", None), (None, None)])
def test_files_that_hold_no_series(text: Any, line: int | None, tmp_path: Path) -> None:
    file = tmp_path / "series.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_series(str(file))
    assert caught.value.line == line


async def test_too_little_is_left_to_forecast(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("\n".join(map(str, range(60))))
    for study in (ForecastSeries(str(file)), ForecastSeries(str(file), horizon=1, season=0, train=0.95, epochs=1)):
        if study.season:
            with pytest.raises(InputError) as caught:
                await study.measure(None, LAB)
            assert caught.value.code == "short-series"
