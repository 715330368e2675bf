from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError

pytest.importorskip("peft")
from tests.models.adapters.test_compose import lora, modules


def say(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["adapters", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_merge_stack_and_show(tmp_path: Path) -> None:
    one = lora(tmp_path / "a", seed=1, target_modules=["q_proj"])
    two = lora(tmp_path / "b", seed=2, rank=3, target_modules=["q_proj", "v_proj"])
    said = say("merge", one, two, "--weights", "0.5,0.5", "--to", tmp_path / "c")
    assert "LoRA, rank 7, scaling 1, on q_proj, v_proj" in said
    parts = [modules(tmp_path / "m", seed=1), modules(tmp_path / "n", seed=2, width=3)]
    assert "0_default (width 6) then 1_default (width 3)" in say("stack", *parts, "--to", tmp_path / "mn")
    with pytest.raises(InputError, match="expected numbers"):
        say("merge", one, two, "--weights", "half", "--to", tmp_path / "d")
    with pytest.raises(InputError, match="unknown local model 'somewhere'"):
        say("show", one)
    weights = tmp_path / "base"
    weights.mkdir()
    from rung.models.adapters import adapters

    adapters.note(one, str(weights), "")
    shown = say("show", one)
    assert f"base here   {weights}" in shown
    assert "rung serve" in shown
