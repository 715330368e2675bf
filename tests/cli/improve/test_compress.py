"""``rung compress`` as it is typed, on the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import rung
from tests.tuning.conftest import write_gguf

WORDS = "the tide comes in at {} and leaves the harbour full of boats that wait for {} days of wind"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "read.txt").write_text("\n".join(WORDS.format(at, at + 2) for at in range(40)), encoding="utf-8")
    (tmp_path / "other.txt").write_text("\n".join(WORDS.format(at, at * 7) for at in range(50, 90)), encoding="utf-8")
    return tmp_path


def test_a_smaller_file(folder: Path) -> None:
    words = ("tiny.gguf", "--calibrate", "read.txt", "--method", "int8", "-q")
    done = rung("compress", *words, folder=folder)
    assert done.returncode == 0, done.stderr
    file = folder / "compressed" / "int8" / "compressed-q8.gguf"
    assert file.stat().st_size < (folder / "tiny.gguf").stat().st_size
    assert "compressed-q8.gguf" in done.stdout
    assert "passed" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "int5", "--calibrate", "read.txt"],
        ["--method", "int8"],
        ["--method", "int8", "--calibrate", "read.txt", "--text", "read.txt"],
        ["--method", "heads", "--heads", "0.9", "--teach", "labels", "--calibrate", "read.txt"],
        ["--method", "int8", "--bits", "3", "--calibrate", "read.txt"],
    ],
    ids=["method", "nothing to read", "judged by what was read", "no head left", "bits"],
)
def test_what_cannot_be_is_said_and_leaves_nothing(words: list[str], folder: Path) -> None:
    done = rung("compress", "tiny.gguf", "-q", *words, folder=folder)
    assert done.returncode == 2
    assert "→" in done.stderr
    assert not list(folder.rglob("compressed*.gguf*"))
