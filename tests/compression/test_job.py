"""Whole compressions of the tiny model, to files that the engine answers from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from rung.compression import job
from rung.compression.calibration import demand_apart
from rung.compression.rung import CompressionRung
from rung.compression.rungs import METHODS
from rung.core.errors import FitError, InputError
from rung.core.parts import registry
from rung.tuning.weights import Base
from rung.tuning.work import Lessons
from tests.tuning.conftest import Conversations

QUICK = job.Plan(8, steps=3, batch=4, rank=4)


@pytest.fixture
def lessons(conversations: Conversations) -> Lessons:
    return Lessons(conversations, conversations[:2])


@pytest.mark.parametrize(
    "plan",
    [
        replace(QUICK, layers=0.5, channels=0.34, teach="teacher"),
        replace(QUICK, bits=4, aware=True, teach="labels"),
        replace(QUICK, sparse="2:4", teach="teacher"),
        replace(QUICK, channels=0.34, teach="answers"),
    ],
    ids=["cut", "aware", "sparse", "answers"],
)
def test_a_file_that_says_what_was_computed(plan: job.Plan, tiny: Base, lessons: Lessons, tmp_path: Path) -> None:
    """The parity gate has opened it in the engine; a second call finds it; what only the making needed is gone."""
    done = job.compress(job.CompressionSource(tiny), lessons, plan, tmp_path)
    assert done.parity is not None
    assert done.parity.verdict == "passed"
    file = Path(done.file)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    down = tensors["blk.0.ffn_down.weight"]
    assert down.tensor_type.name == ("Q4_0" if plan.bits == 4 else "Q8_0")
    if plan.layers:
        assert "blk.1.ffn_down.weight" not in tensors
        assert (done.kept, down.shape[0]) == ("1 layers, 2 groups of heads, 64 channels", 64)
    if plan.sparse:
        assert done.zeros == pytest.approx(0.5, abs=1e-6)
        values = gguf.quants.dequantize(down.data, down.tensor_type)
        assert (values == 0).mean() >= 0.5
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "compressed.json", ".lock"}
    again = job.compress(job.CompressionSource(tiny), lessons, plan, tmp_path)
    assert again == done
    assert len(done.notes) == 0


def test_weighted_blocks_are_not_the_plain_ones(tiny: Base, lessons: Lessons, tmp_path: Path) -> None:
    """int4 and int4-plain: same bytes, other blocks; and a file of 4 bits is told when it is compressed again."""
    one = job.compress(job.CompressionSource(tiny), lessons, job.PLANS["int4"], tmp_path / "one")
    two = job.compress(job.CompressionSource(tiny), lessons, job.PLANS["int4-plain"], tmp_path / "two")
    assert one.size == two.size
    values = []
    for done in (one, two):
        (tensor,) = (t for t in gguf.GGUFReader(done.file).tensors if t.name == "blk.1.ffn_down.weight")
        values.append(np.asarray(tensor.data))
    assert (values[0] != values[1]).any()
    assert job.quantized(replace(tiny, gguf=Path(one.file))) == "Q4_0"
    assert job.quantized(tiny) == ""


def test_what_cannot_be_compressed(
    tiny: Base, lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plan, code in (
        (job.Plan(5), "plan"),
        (job.Plan(8, aware=True, teach="labels"), "plan"),
        (job.Plan(8, layers=0.9), "cut"),
        (job.Plan(8, heads=0.9), "cut"),
    ):
        with pytest.raises(InputError) as raised:
            job.compress(job.CompressionSource(tiny), lessons, plan, tmp_path)
        assert raised.value.code == code
    with pytest.raises(InputError):
        job.compress(job.CompressionSource(replace(tiny, gguf=None)), lessons, job.Plan(8), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(FitError):
        job.compress(job.CompressionSource(tiny), lessons, job.Plan(8), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_calibration_must_not_read_what_is_judged() -> None:
    line = "a line that is quite long enough to be told from all the others there are"
    demand_apart(None, ["something else\n" * 9], [line])
    with pytest.raises(InputError) as raised:
        demand_apart(None, [f"before\n{line}\nafter"], [f"{line}  \nmore"])
    assert raised.value.code == "overlap"


def test_short_lines_overlap_when_most_are_shared() -> None:
    verses = [f"秋收冬藏第{at}句" for at in range(20)]
    demand_apart(None, ["\n".join(verses[:10])], ["\n".join(verses[5:])])
    with pytest.raises(InputError) as raised:
        demand_apart(None, ["\n".join(verses)], ["\n".join(verses[5:])])
    assert raised.value.code == "overlap"


def test_a_place_that_cannot_be_a_folder_is_said(tiny: Base, lessons: Lessons, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        job.compress(job.CompressionSource(tiny), lessons, QUICK, tmp_path / "file" / "int8")


def test_rungs_name_their_plans() -> None:
    assert tuple(job.PLANS) == ("f16", *METHODS)
    assert {name: registry.load("rung", name).plan for name in METHODS} == {name: job.PLANS[name] for name in METHODS}
    assert CompressionRung("layers", layers=0.5, steps=7).plan == replace(job.PLANS["layers"], layers=0.5, steps=7)
    assert CompressionRung("int4").traits.optional
    with pytest.raises(ValueError, match="int5"):
        CompressionRung("int5")
