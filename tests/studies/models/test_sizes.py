from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError, ModelError
from rung.core.settings import Settings
from rung.core.types import Interval
from rung.studies.models import sizes
from rung.studies.models.sizes import SizeRow, Sizes, Weighed, marked, nats, weigh
from rung.studies.study import Lab
from tests.tuning.conftest import write_gguf


def row(name: str, quality: float, size: int, cpu: float) -> SizeRow:
    return SizeRow(name, Weighed(size, cpu=cpu), Interval(quality, quality, quality))


def test_who_is_beaten_on_everything_is_marked() -> None:
    rows = [
        row("large", 0.9, 100, 4.0),
        row("small", 0.8, 50, 2.0),
        row("worse", 0.7, 60, 2.0),
        row("twin", 0.8, 50, 2.0),
    ]
    assert [one.dominated for one in marked(rows)] == ["", "", "small", ""]
    assert [one.dominated for one in marked(rows, higher=False)] == ["small", "", "", ""]
    assert [one.dominated for one in marked([replace(rows[0], loss=3.0), replace(rows[1], loss=2.0)])] == ["", ""]


def test_differences_weigh_tokens_and_are_paired() -> None:
    first = tuple((10.0 * at, 10) for at in range(1, 13))
    same = nats(first, first)
    assert (same.value, same.none) == (0.0, True)
    dearer = nats(tuple((total + 20 + at % 2, n) for at, (total, n) in enumerate(first)), first)
    assert dearer.value == pytest.approx(2.05)
    assert 2.0 <= dearer.low <= 2.05 <= dearer.high <= 2.1


async def test_a_study_that_was_stopped_weighs_what_is_left(
    tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write_gguf(tmp_path / f"{at}.gguf", seed=at) for at in range(2)]
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200, encoding="utf-8")
    asked: list[str] = []

    def measured(name: str, texts: Sequence[str], settings: Settings) -> Weighed:
        asked.append(name)
        if len(asked) == 2:
            raise ModelError("its process was killed")
        return Weighed(1, losses=tuple((1.0, 2) for _ in texts))

    monkeypatch.setattr(sizes, "weigh", measured)
    study = Sizes(tuple(map(str, files)), text=str(tmp_path / "text.txt"))
    with pytest.raises(ModelError):
        await study.measure(None, lab)
    assert [row.loss for row in await study.measure(None, lab)] == [0.5, 0.5]
    one, other = (f"openvino:{file}" for file in files)
    assert asked == [one, other, other]
    await study.measure(None, lab)  # a study that ended keeps nothing
    assert asked[3:] == [one, other]


@pytest.mark.slow
def test_a_model_is_weighed_in_its_own_process(tmp_path: Path, settings: Settings) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    found = weigh(f"openvino:{file}", ["the cat sat on the mat", "the dog"], settings)
    assert found.size == file.stat().st_size
    assert found.tokens > 0
    assert found.cpu > 0
    assert found.memory > 50 << 20
    assert [n for _, n in found.losses] == [len("the cat sat on the mat") - 3, len("the dog") - 2]
    assert all(0 < total / n < 12 for total, n in found.losses)
    with pytest.raises(InputError) as raised:
        weigh("transformers:x", [], settings)
    assert raised.value.code == "model"
