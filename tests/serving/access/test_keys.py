from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.serving.access.keys import Keys, add_key, new_key, read_keys


def test_a_key_is_admitted_by_its_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, other = add_key(path), add_key(path)
    assert key != other
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("# who\n\n" + path.read_text().replace("\n", " alice\n", 1))
    keys = read_keys(path)
    assert keys
    assert keys.admit(key)
    assert keys.admit(other)
    assert not keys.admit(key[:-1])
    assert not keys.admit("")
    assert not keys.admit(path.read_text().split()[2])  # a hash is no key


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNG_API_KEYS", raising=False)
    assert not read_keys()
    key, line = new_key()
    (tmp_path / "keys").write_text(line)
    monkeypatch.setenv("RUNG_API_KEYS", str(tmp_path / "keys"))
    assert read_keys().admit(key)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "rung-plainkey\n"])
def test_a_file_that_holds_no_hashes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InputError, match="--new-key") as caught:
        read_keys(tmp_path / "keys")
    assert "plainkey" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        read_keys(tmp_path / "none")


def test_nobody_is_admitted_without_keys() -> None:
    assert not Keys().admit("anything")
