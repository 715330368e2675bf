"""Gates of a recurrent network, as they are shown and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.core.codec import decode
from rung.core.errors import InputError
from rung.studies.lab.language.gates import GateRecord, Gates, picture
from rung.studies.study import Lab
from tests.studies.lab.test_experiment import story

HELD = GateRecord(
    "lstm", ("a", "<"), (0.0, 1.5), {"input": ((0.1, 0.9),) * 2, "forget": ((0.5, 0.25), (0.5, 0.25))}, 2.0
)


async def test_every_gate_of_every_byte_is_written(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "t.txt").write_text(story(3000))
    to = tmp_path / "gates.json"
    study = Gates("the lamp é", text=(str(tmp_path / "t.txt"),), to=to, width=6, steps=2)
    found = await study.measure(None, lab)
    assert decode(GateRecord, json.loads(to.read_text())) == found
    assert set(found.gates) == {"input", "forget", "output"}
    assert found.symbols == (*"the", "␣", *"lamp", "␣", "\\xc3", "\\xa9")
    for rows in found.gates.values():
        assert [len(row) for row in rows] == [6] * 11
        assert all(0 <= gate <= 1 for row in rows for gate in row)
    assert "forget gate" in study.table(found)


def test_half_of_what_is_kept() -> None:
    assert HELD.half_lives.tolist() == pytest.approx([1.0, 0.5])
    data = json.loads(picture(HELD).split("const data=")[1].split(",box=")[0])
    assert data["gates"]["forget"] == [[0.5, 0.5], [0.25, 0.25]]
    assert data["symbols"] == ["a", "<"]
    assert "<" not in picture(HELD).split("const data=")[1].split(",box=")[0]


@pytest.mark.parametrize(
    "study",
    [Gates("a lamp", "rnn"), Gates("a"), Gates("lamp " * 200), Gates("a lamp", to=Path("gates.png"))],
    ids=["no gates", "short", "long", "file"],
)
async def test_what_has_no_gates_to_show(study: Gates, lab: Lab) -> None:
    with pytest.raises(InputError):
        await study.measure(None, lab)
