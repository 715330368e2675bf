from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rung.compression import structure
from rung.compression.calibration import Calibration, calibrate
from rung.core.errors import InputError
from rung.tuning.batches import TokenRow, assemble
from rung.tuning.compute import export
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.weights import Base, unpack
from tests.tuning.conftest import RECIPE


@pytest.fixture
def seen(session: Session, rows: list[TokenRow]) -> Calibration:
    return calibrate(session, rows)


def loss(session: Session, rows: list[TokenRow]) -> float:
    with torch.no_grad():
        return float(losses(session, assemble(rows)).mean())


def test_dead_parts_are_the_ones_that_go_and_nothing_changes(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """A group of heads and channels whose outputs are zero, and a layer that adds nothing: the cut model says exactly the same, as
    a session over the new folder and as a GGUF that is read back."""
    session = open_session(tiny, RECIPE)
    state = session.causal.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name.startswith("model.layers.0.") and ("o_proj" in name or "down_proj" in name) and "lora" not in name:
                tensor.zero_()
            if name.startswith("model.layers.1.") and "lora" not in name and "o_proj" in name:
                tensor[:, 32:] = 0
            if name.startswith("model.layers.1.") and "lora" not in name and "down_proj" in name:
                tensor[:, 32:64] = 0
    before, weights = loss(session, rows), export.merge(session)
    kept = structure.choose(structure.Cut(0.5, 0.5, 0.34), weights, session.causal.config, calibrate(session, rows))
    assert (kept.layers, kept.groups) == ((1,), ((0,),))
    assert kept.channels[0].tolist() == [*range(32), *range(64, 96)]
    small = structure.cut(weights, session.causal.config, kept)
    base = structure.write_base(small, tiny, structure.sizes(session.causal.config, kept), tmp_path)
    assert loss(open_session(base, RECIPE), rows) == pytest.approx(before, abs=2e-3)  # 16 bits
    assert base.gguf is not None
    again = unpack(base.gguf, tmp_path / "cache")
    assert loss(open_session(again, RECIPE), rows) == pytest.approx(before, abs=2e-2)  # read as bfloat16
    written = export.save_gguf(small, base, tmp_path / "q8.gguf", "q8")
    assert written.stat().st_size < tiny.gguf.stat().st_size / 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "cut", [structure.Cut(layers=1.0), structure.Cut(layers=0.8), structure.Cut(heads=0.8), structure.Cut(heads=0.1)]
)
def test_a_share_that_leaves_or_takes_nothing_is_refused(
    cut: structure.Cut, session: Session, seen: Calibration
) -> None:
    with pytest.raises(InputError) as raised:
        structure.choose(cut, export.merge(session), session.causal.config, seen)
    assert raised.value.code == "cut"


def test_masks_keep_what_is_large_times_what_runs_through() -> None:
    weight = torch.tensor([[1.0, -4.0, 2.5, 3.0, 1.0, 1.0, 9.0, 0.5]])
    squares = np.array([100.0, 1.0, 1.0, 1.0, 4.0, 1.0, 0.0001, 1.0], np.float32)
    half = structure.masks({"w": weight}, {"w": squares}, "0.5")["w"]
    assert half[0].tolist() == [True, True, True, True, False, False, False, False]
    two = structure.masks({"w": weight}, {"w": squares}, "2:4")["w"]
    assert two[0].tolist() == [True, True, False, False, True, True, False, False]
    for wrong in ("3:4", "0", "1", "x"):
        with pytest.raises(InputError) as raised:
            structure.masks({"w": weight}, {"w": squares}, wrong)
        assert raised.value.code == "cut"


def test_influence_is_zero_of_a_layer_that_adds_nothing(tiny: Base, rows: list[TokenRow]) -> None:
    session = open_session(tiny, RECIPE)
    with torch.no_grad():
        for name, tensor in session.causal.state_dict().items():
            if name.startswith("model.layers.0.") and "lora" not in name and ("o_proj" in name or "down_proj" in name):
                tensor.zero_()
    found = calibrate(session, rows)
    assert found.influence[0] == pytest.approx(0, abs=1e-6)
    assert found.influence[1] > 1e-3
    with pytest.raises(InputError) as raised:
        calibrate(session, rows[:1])
    assert raised.value.code == "calibration"
