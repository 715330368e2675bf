from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.core.system import arrays
from rung.core.system.arrays import read_arrays


def packed(path: Path, content: bytes, name: str = "a.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def head(shape: str, kind: str = "<f8") -> bytes:
    """The head of an array as NumPy's format 1.0 has it."""
    said = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said.encode()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array([], np.int32),
        "c": np.array(7),
        "d": np.asfortranarray(np.eye(2)),
    }
    np.savez_compressed(tmp_path / "x.npz", **given)
    found = read_arrays(tmp_path / "x.npz")
    assert {name: array.tolist() for name, array in found.items()} == {name: a.tolist() for name, a in given.items()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an array",
        head("(1000000000000,)"),
        head("(-1,)"),
        head("(0, 1000000000000)", "<U1000000000") + b"x",
        head("(1,)", "|O") + b"\x80\x04N.",
        head("(" * 300 + ")" * 300),
        head("(2,)") + b"\0" * 15,
        head("(2,)") + b"\0" * 17,
    ],
)
def test_what_is_no_array_is_told_before_memory_is_asked_for(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(packed(tmp_path / "x.npz", content))


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BYTES", 1 << 16)
    out = io.BytesIO()
    np.save(out, np.zeros(1 << 17))
    with pytest.raises(ValueError, match="unpacks to"):
        read_arrays(packed(tmp_path / "x.npz", out.getvalue()))


def test_damage_anywhere_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.arange(50.0), b=np.arange(3))
    whole = (tmp_path / "x.npz").read_bytes()
    for end in (0, 10, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:end])
        with pytest.raises(ValueError, match="damaged"):
            read_arrays(tmp_path / "cut.npz")
    (tmp_path / "turned.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(tmp_path / "turned.npz")
