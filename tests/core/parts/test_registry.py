"""Names to things, and other people's things by entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from rung.core.errors import InputError
from rung.core.parts import registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution as an installer leaves it: a module and its dist-info on the path."""
    (tmp_path / "gadget_for_rung.py").write_text(
        "class Gadget:\n    label = 'theirs'\n\nclass Shadow:\n    pass\n\nclass Outer:\n    class Inner:\n        pass\n"
    )
    info = tmp_path / "gadget_for_rung-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget-for-rung\nVersion: 1.0\n")
    (info / "RECORD").write_text("")
    (info / "entry_points.txt").write_text(
        "[rung.metric]\ngadget = gadget_for_rung:Gadget\nnested = gadget_for_rung:Outer.Inner\n"
        "extra = gadget_for_rung:Gadget [fancy]\n"
        "[rung.provider]\nopenai = gadget_for_rung:Shadow\n[rung.pack]\nbroken = gadget_for_rung_is_missing:x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.table.cache_clear()
    yield
    sys.modules.pop("gadget_for_rung", None)
    registry.table.cache_clear()


def test_another_ones_part_is_found_by_name(installed: None) -> None:
    assert registry.load("metric", "gadget").label == "theirs"
    assert "gadget" not in registry.table("rung")


def test_an_entry_point_may_name_a_nested_attribute_or_an_extra(installed: None) -> None:
    assert registry.load("metric", "nested").__qualname__ == "Outer.Inner"
    assert registry.load("metric", "extra").label == "theirs"


def test_an_entry_point_cannot_shadow_a_built_in(installed: None) -> None:
    assert registry.table("provider")["openai"] == "rung.models.providers.openai:open_model"


def test_listing_names_imports_nothing_of_theirs(installed: None) -> None:
    assert "broken" in registry.table("pack")
    assert "gadget_for_rung" not in sys.modules


def test_what_cannot_be_imported_is_a_sentence_and_left_out_of_lists(
    installed: None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="pack 'broken' cannot be imported from gadget_for_rung_is_missing:x") as told:
        registry.load("pack", "broken")
    assert told.value.code == "plug-in"
    assert set(registry.table("pack")) - set(registry.usable("pack")) == {"broken"}
    assert "gadget_for_rung_is_missing" in caplog.text
    assert "gadget" in registry.usable("metric")


def test_without_the_distribution_the_name_is_unknown() -> None:
    with pytest.raises(InputError, match="unknown metric 'gadget'"):
        registry.load("metric", "gadget")


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [("provider", "opnai", "openai"), ("embedder", "sttaic", "static"), ("provider", "fak", "fake")],
)
def test_a_near_miss_is_answered_with_what_was_meant(kind: registry.Kind, typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"unknown {kind} '{typed}'") as caught:
        registry.load(kind, typed)
    assert caught.value.remedy.startswith("did you mean")
    assert meant in caught.value.remedy


def test_a_far_miss_is_answered_with_the_list() -> None:
    with pytest.raises(InputError) as caught:
        registry.load("provider", "zzz")
    assert caught.value.remedy == f"known: {', '.join(sorted(registry.table('provider')))}"


@pytest.mark.parametrize("kind", get_args(registry.Kind))
def test_every_registered_name_says_module_and_attribute(kind: registry.Kind) -> None:
    for name, target in registry.table(kind).items():
        module, _, attribute = target.partition(":")
        assert module.startswith("rung."), name
        assert attribute.isidentifier(), name


@pytest.mark.parametrize("kind", ["metric", "rung", "program", "pack"])
def test_the_shelves_are_not_empty_and_their_things_load(kind: registry.Kind) -> None:
    names = registry.table(kind)
    assert names
    for name in names:
        assert registry.load(kind, name) is not None
