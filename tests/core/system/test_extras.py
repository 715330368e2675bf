"""The guard around optional packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rung.core.errors import InputError, MissingExtra
from rung.core.system import extras
from rung.core.system.extras import require


def test_what_is_there_is_returned() -> None:
    assert require("json", "any", "this") is json
    assert require("json.decoder", "any", "this").__name__ == "json.decoder"


@pytest.mark.parametrize("module", ["not_there_at_all", "not_there_at_all.inner.part"])
def test_what_is_not_there_is_named_with_the_command(module: str) -> None:
    with pytest.raises(MissingExtra, match="training needs the Python package 'not_there_at_all'") as caught:
        require(module, "tuning", "training")
    assert caught.value.remedy == "type: pip install 'rung[tuning]'"
    assert caught.value.exit_code == 2
    assert caught.value.__cause__ is None


def test_a_package_that_lacks_its_own_dependency_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "has_a_hole.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        require("has_a_hole", "tuning", "training")


def test_a_package_that_is_installed_but_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken_inside"
    package.mkdir()
    (package / "__init__.py").write_text("from broken_inside import _native\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match="_native") as caught:
        require("broken_inside", "tuning", "training")
    assert not isinstance(caught.value, MissingExtra)


def test_an_error_of_another_kind_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explodes.py").write_text("raise RuntimeError('bang')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="bang"):
        require("explodes", "tuning", "training")


def test_what_would_crash_behind_another_package_is_loaded_before_it_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("early_bird", "late_bird"):
        (tmp_path / f"{name}.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(extras, "FIRST", {"late_bird": "early_bird"})
    require("late_bird", "any", "this")
    assert [name for name in sys.modules if name.endswith("_bird")] == ["early_bird", "late_bird"]
    monkeypatch.delitem(sys.modules, "early_bird")
    with pytest.raises(InputError) as caught:
        require("early_bird", "any", "this")
    assert caught.value.code == "import-order"
