"""A program as a folder: saved, loaded, damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as folders
from rung.core.parts import registry
from rung.core.protocols import Embedder, Model, Program
from rung.core.types import Answer, Input


@dataclass(frozen=True)
class Echo:
    word: str
    weights: Mapping[str, Path | bytes] = field(default_factory=dict)
    kind: str = "echo-of-the-tests"
    model: Model | None = None

    def spec(self) -> dict[str, Any]:
        return {"word": self.word}

    def files(self) -> Mapping[str, Path | bytes]:
        return self.weights

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        return Answer(self.word)

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Any) -> Echo:
        names = sorted(path.name for path in folder.iterdir() if path.name != "program.json")
        return cls(spec["word"], {name: folder / name for name in names})


class Nothing:
    def model(self, name: str | None = None) -> Model:
        raise AssertionError

    def embedder(self, name: str | None = None) -> Embedder:
        raise AssertionError


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES["program"], "echo-of-the-tests", f"{__name__}:Echo")
    registry.table.cache_clear()
    monkeypatch.setattr(registry, "LISTS", {})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 40)
    return tmp_path / "weights.bin"


@pytest.fixture
def saved(tmp_path: Path, weights: Path) -> Path:
    return folders.save(Echo("Grüße \n", {"w.bin": weights}), tmp_path / "out" / "program", notes={"score": 0.5})


def test_what_is_saved_is_loaded(saved: Path, weights: Path) -> None:
    program = folders.load(saved, Nothing())
    assert isinstance(program, Echo)
    assert isinstance(program, Program)
    assert program.word == "Grüße \n"
    assert program.files() == {"w.bin": saved / "w.bin"}
    assert (saved / "w.bin").read_bytes() == weights.read_bytes()
    assert folders.fingerprint(program) == folders.read(saved)["fingerprint"]
    assert folders.read(saved)["notes"] == {"score": 0.5}
    assert [path.name for path in saved.parent.iterdir()] == ["program"]


def test_the_identity_covers_kind_spec_file_and_model_but_not_notes_or_place(tmp_path: Path, weights: Path) -> None:
    @dataclass(frozen=True)
    class Named:
        fingerprint: str

    plain = Echo("a", {"w.bin": weights})
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    copy = tmp_path / "copy.bin"
    copy.write_bytes(weights.read_bytes())
    identity = folders.fingerprint(plain)
    assert folders.fingerprint(replace(plain, weights={"w.bin": copy})) == identity
    different = [
        replace(plain, word="b"),
        replace(plain, kind="another"),
        replace(plain, weights={"w.bin": other}),
        replace(plain, weights={"v.bin": weights}),
        replace(plain, weights={}),
        replace(plain, model=Named("m1")),  # type: ignore[arg-type]
        replace(plain, model=Named("m2")),  # type: ignore[arg-type]
    ]
    assert len({identity, *(folders.fingerprint(program) for program in different)}) == 8


def test_a_file_that_changes_changes_the_identity(weights: Path) -> None:
    program = Echo("a", {"w.bin": weights})
    before = folders.fingerprint(program)
    weights.write_bytes(weights.read_bytes() + b"!")
    assert folders.fingerprint(program) != before


def test_saving_again_replaces_the_program_whole(saved: Path) -> None:
    folders.save(Echo("second"), saved)
    program = folders.load(saved, Nothing())
    assert isinstance(program, Echo)
    assert program.word == "second"
    assert [path.name for path in saved.iterdir()] == ["program.json"]


def test_a_loaded_program_may_be_saved_over_itself(saved: Path, weights: Path) -> None:
    folders.save(folders.load(saved, Nothing()), saved)
    program = folders.load(saved, Nothing())
    assert program.files() == {"w.bin": saved / "w.bin"}
    assert (saved / "w.bin").read_bytes() == weights.read_bytes()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not a program folder"):
        folders.save(Echo("a"), folder)
    assert (folder / "chapter1.txt").read_text() == "years of work"


def test_a_save_that_fails_leaves_the_old_program_and_no_litter(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folders.save(Echo("second", {"a.bin": tmp_path / "not-there"}), saved)
    program = folders.load(saved, Nothing())
    assert isinstance(program, Echo)
    assert program.word == "Grüße \n"
    assert [path.name for path in saved.parent.iterdir()] == ["program"]


def test_the_old_program_stays_when_the_last_step_fails(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if ".part" in self.name:
            raise OSError("the power fails")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="the power fails"):
        folders.save(Echo("second"), saved)
    program = folders.load(saved, Nothing())
    assert isinstance(program, Echo)
    assert program.word == "Grüße \n"
    assert [path.name for path in saved.parent.iterdir()] == ["program"]


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_that_cannot_be_replaced_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be replaced") as caught:
        folders.save(Echo("a"), Path(name))
    assert "./program" in caught.value.remedy


def test_shared_files_are_whole_and_fall_back_to_copies(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = folders.save(Echo("a", {"w.bin": weights}), tmp_path / "shared", link=True)
    assert (shared / "w.bin").read_bytes() == weights.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = folders.save(Echo("a", {"w.bin": weights}), tmp_path / "copied", link=True)
    assert (copied / "w.bin").read_bytes() == weights.read_bytes()
    assert (copied / "w.bin").stat().st_ino != weights.stat().st_ino


def test_no_folder_and_no_program(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=r"holds no program\.json") as caught:
            folders.load(folder, Nothing())
        assert "rung export" in caught.value.remedy


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "folder"])
def test_a_damaged_file_is_found(saved: Path, damage: str) -> None:
    file = saved / "w.bin"
    content = file.read_bytes()
    file.unlink()
    if damage == "flip":
        file.write_bytes(content[:100] + b"\xff" + content[101:])
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(InputError, match=r"w\.bin is missing or damaged"):
        folders.load(saved, Nothing())


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '"x"', "{}", "\x00", '{"format": 1, "k', '{"format": 2}', '{"format": 1}'),
        '{"format": 1, "files": [], "spec": {}, "kind": "echo-of-the-tests"}',
        '{"format": 1, "files": {}, "spec": {}}',
        '{"format": 1, "files": {}, "kind": "echo-of-the-tests"}',
        '{"format": 1, "files": {"a": 1}, "spec": {}, "kind": "echo-of-the-tests"}',
    ],
)
def test_a_damaged_document_is_found(saved: Path, text: str) -> None:
    (saved / "program.json").write_text(text)
    with pytest.raises(InputError):
        folders.load(saved, Nothing())


def test_a_document_that_is_not_text(saved: Path) -> None:
    (saved / "program.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        folders.load(saved, Nothing())


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "a/b"])
def test_a_document_cannot_point_out_of_its_folder(saved: Path, name: str) -> None:
    document = json.loads((saved / "program.json").read_text())
    document["files"] = {name: "0" * 64}
    (saved / "program.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"missing or damaged|no file of this program"):
        folders.load(saved, Nothing())


def test_a_program_of_an_unknown_kind(saved: Path) -> None:
    document = json.loads((saved / "program.json").read_text())
    document["kind"] = "echo-of-the-test"
    (saved / "program.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="unknown program") as caught:
        folders.load(saved, Nothing())
    assert "echo-of-the-tests" in caught.value.remedy


def test_content_is_saved_as_a_file_and_has_the_identity_of_that_file(tmp_path: Path, weights: Path) -> None:
    content = weights.read_bytes()
    saved = folders.save(Echo("a", {"w.bin": content}), tmp_path / "p")
    assert (saved / "w.bin").read_bytes() == content
    assert folders.fingerprint(Echo("a", {"w.bin": content})) == folders.fingerprint(Echo("a", {"w.bin": weights}))
    assert folders.fingerprint(folders.load(saved, Nothing())) == folders.read(saved)["fingerprint"]


def test_rows_are_named_by_content_and_read_back(tmp_path: Path) -> None:
    items: list[list[object]] = [["a\u2028b", {"x": 1.5}], ["Grüße \n", None]]
    rows = folders.Rows("pool", items)
    assert rows.name == folders.Rows("pool", [list(item) for item in items]).name
    assert rows.name != folders.Rows("pool", items[::-1]).name
    (tmp_path / rows.name).write_bytes(rows.files()[rows.name])
    assert folders.Rows.read(tmp_path / rows.name) == items
    assert folders.Rows("pool", []).data == b""
    (tmp_path / rows.name).write_bytes(rows.data[:-3])
    with pytest.raises(InputError, match="cannot read it"):
        folders.Rows.read(tmp_path / rows.name)
