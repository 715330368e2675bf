from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from rung.core.system import files


def test_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    files.write_file(path, b"one")
    files.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    with contextlib.suppress(RuntimeError), files.atomic_write(path) as part:
        part.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"two"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            files.write_file(path, b"three")
    assert path.read_bytes() == b"two"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_cannot_be_opened_is_left_to_the_system(tmp_path: Path) -> None:
    files.sync_folder(tmp_path / "none")
