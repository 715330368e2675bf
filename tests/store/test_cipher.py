"""A store under SQLCipher: nothing of it can be read without its key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rung.core.errors import InputError, StoreError
from rung.store import StoredResult, open_store
from rung.store.engine import cipher

pytest.importorskip("sqlcipher3", reason="sqlcipher3 is not installed")

KEY, OTHER = "ab" * 32, "cd" * 32
CANARY = "canary-in-the-store"
HOLDER = """
import sqlite3, sys
link = sqlite3.connect(sys.argv[1], isolation_level=None)
link.execute("begin")
link.execute("select count(*) from results").fetchall()
print("open", flush=True)
input()
"""


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cipher.VARIABLE, KEY)


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("rung.db*"))


async def test_a_store_with_a_key_holds_nothing_that_can_be_read(
    key: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'rung.db'}"
    with open_store(url) as store:
        await store.results.put([StoredResult("s", CANARY, f'"{CANARY}"')])
        assert CANARY.encode() not in everything(tmp_path)  # the log too
        assert store.results.get("s", [CANARY])[CANARY].payload == f'"{CANARY}"'
    with open_store(url) as again:
        assert again.results.count("s") == (1, 0)
    assert CANARY.encode() not in everything(tmp_path)
    for wrong in (OTHER, ""):
        monkeypatch.setenv(cipher.VARIABLE, wrong)
        with pytest.raises(StoreError) as caught:
            open_store(url, patience=0.2)
        assert caught.value.code == "encrypted"
        assert KEY not in str(caught.value)


async def test_a_plain_store_is_encrypted_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rung.db"
    url = f"sqlite:///{file}"
    with open_store(url) as store:
        await store.results.put([StoredResult("s", CANARY, "1")])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(StoreError) as caught:  # it is in use
            cipher.convert(file, "", KEY)
        assert caught.value.code == "not-converted"
        other.communicate(b"\n")
    with open_store(url) as store:
        assert store.results.count("s") == (1, 0)
    monkeypatch.setenv(cipher.VARIABLE, KEY)
    with pytest.raises(StoreError) as caught:
        open_store(url, patience=0.2)
    assert caught.value.code == "encrypted"
    cipher.convert(file, "", KEY)
    assert CANARY.encode() not in everything(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError):
        cipher.convert(file, OTHER, KEY)
    cipher.convert(file, KEY, OTHER)
    monkeypatch.setenv(cipher.VARIABLE, OTHER)
    with open_store(url) as store:
        assert store.results.count("s") == (1, 0)
    cipher.convert(file, OTHER, "")
    monkeypatch.delenv(cipher.VARIABLE)
    with open_store(url) as store:
        assert store.results.count("s") == (1, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rung.db"]


@pytest.mark.parametrize("text", ["short", "zz" * 32, "a" * 63])
def test_what_is_no_key_is_refused_and_not_repeated(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cipher.VARIABLE, text)
    with pytest.raises(InputError) as caught:
        open_store(f"sqlite:///{tmp_path / 'rung.db'}")
    assert text not in str(caught.value)
    monkeypatch.delenv(cipher.VARIABLE)
    file = tmp_path / "key"
    file.write_text(KEY.upper() + "\n")
    monkeypatch.setenv(cipher.FILE, str(file))
    assert cipher.read_key() == KEY
    assert len(cipher.new_key()) == 64
