"""Bad days: full disks, locks, damage, wrong URLs, sudden death. Each ends in a clear error and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from rung.core.errors import InputError, MissingExtra, RungError, StoreError
from rung.store import Entry, Store, open_store
from rung.store.engine.database import metadata

CRASH = Path(__file__).parents[2] / "bench" / "crash.py"


def rows(program: str, count: int, size: int = 2000) -> list[Entry]:
    return [Entry(program, f"e{i}", json.dumps("x" * size), 0, "r") for i in range(count)]


def intact(file: Path) -> bool:
    link = sqlite3.connect(file)
    try:
        return bool(link.execute("pragma integrity_check").fetchone() == ("ok",))
    finally:
        link.close()


# ---------------------------------------------------------------- sudden death


@pytest.mark.slow
def test_killed_at_random_points_nothing_acknowledged_is_lost_or_torn(url: str) -> None:
    kills = "5" if url.startswith("sqlite") else "2"
    done = subprocess.run(
        [sys.executable, str(CRASH), "--kills", kills, "--url", url],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 torn, integrity ok" in done.stdout
    assert " 0 rows acknowledged" not in done.stdout


# ---------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small tmpfs here (needs root on Linux)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_a_clean_error_and_writing_goes_on_once_there_is_space(small_disk: Path) -> None:
    file = small_disk / "rung.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    with open_store(f"sqlite:///{file}") as store:
        kept: list[Entry] = []

        async def fill() -> None:
            for i in range(1000):
                row = Entry("p", f"e{i}", json.dumps("x" * 5000), 0, "r")
                await store.answers.record([row])
                kept.append(row)

        with pytest.raises(StoreError, match="disk is full") as caught:
            await fill()
        assert "free some space" in caught.value.remedy
        assert kept
        lost = f"e{len(kept)}"
        found = store.answers.recall("p", [*(row.example for row in kept), lost])
        assert found == {row.example: row.payload for row in kept}
        with pytest.raises(StoreError, match="disk is full"):
            store.fits.put("k", json.dumps("x" * 100_000))
        outcomes = await asyncio.gather(
            *(store.answers.record([row]) for row in rows("q", 20, 50_000)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {StoreError}
        assert len({id(outcome) for outcome in outcomes}) == 20
        ballast.unlink()
        await store.answers.record([Entry("p", lost, '"now"', 0, "r")])
        assert store.answers.recall("p", [lost]) == {lost: '"now"'}
    assert intact(file)
    with open_store(f"sqlite:///{file}") as again:
        assert len(again.answers.recall("p", [*(row.example for row in kept), lost])) == len(kept) + 1


def test_opening_a_store_on_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    for left in (0, 4096, 20_000, 60_000):
        with ballast.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"x" * 4096)
            except OSError:
                pass
        os.truncate(ballast, max(0, ballast.stat().st_size - left))
        with pytest.raises(StoreError, match="disk is full"):
            open_store(f"sqlite:///{small_disk / 'new' / 'rung.db'}", patience=1)
        ballast.unlink()
        with open_store(f"sqlite:///{small_disk / 'new' / 'rung.db'}") as store:
            assert store.runs.newest() == []
        for file in (small_disk / "new").iterdir():
            file.unlink()


async def test_a_store_that_may_not_grow_behaves_like_a_full_disk(tmp_path: Path) -> None:
    """As above where nothing can be mounted: SQLite itself limits the file."""
    store = open_store(f"sqlite:///{tmp_path / 'rung.db'}")
    pages = 100_000

    @sa.event.listens_for(store.database.pool, "checkout")
    def limit(link: sqlite3.Connection, *_: object) -> None:
        link.execute(f"pragma max_page_count={pages}")

    with store.database.pool.connect() as link:
        pages = link.exec_driver_sql("pragma page_count").scalar_one() + 4
    await store.answers.record(rows("p", 5))
    with pytest.raises(StoreError, match="disk is full"):
        await store.answers.record(rows("q", 200))
    assert store.answers.recall("q", ["e0", "e199"]) == {}
    assert len(store.answers.recall("p", [f"e{i}" for i in range(5)])) == 5
    pages = 100_000
    await store.answers.record(rows("q", 200))
    assert len(store.answers.recall("q", [f"e{i}" for i in range(200)])) == 200
    store.close()
    assert intact(tmp_path / "rung.db")


# ---------------------------------------------------------------- locks


async def test_a_lock_held_too_long_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "rung.db"
    with open_store(f"sqlite:///{file}", patience=0.3) as store:
        await store.answers.record(rows("p", 1))
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("begin immediate")
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"stayed locked by another process for 0\.3 s") as caught:
            await store.answers.record(rows("q", 1))
        assert 0.2 < time.monotonic() - begun < 5
        assert "type the same command again" in caught.value.remedy
        with pytest.raises(StoreError, match="stayed locked"):
            store.runs.start("t", "h", "{}")
        assert len(store.answers.recall("p", ["e0"])) == 1  # reading goes on
        other.execute("rollback")
        other.close()
        await store.answers.record(rows("q", 1))


async def test_a_lock_that_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "rung.db"
    with open_store(f"sqlite:///{file}", patience=20) as store:
        other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        other.execute("begin immediate")
        release = threading.Timer(0.4, lambda: other.execute("rollback"))
        release.start()
        await store.answers.record(rows("q", 1))
        release.join()
        other.close()
        assert len(store.answers.recall("q", ["e0"])) == 1


def test_opening_waits_for_another_process_that_migrates(tmp_path: Path) -> None:
    file = tmp_path / "rung.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("begin exclusive")
    with pytest.raises(StoreError, match="stayed locked"):
        open_store(f"sqlite:///{file}", patience=0.3)
    release = threading.Timer(0.4, lambda: other.execute("rollback"))
    release.start()
    with open_store(f"sqlite:///{file}", patience=20) as store:
        assert store.runs.newest() == []
    release.join()
    other.close()


async def test_a_postgres_lock_held_too_long(postgres_url: str) -> None:
    with open_store(postgres_url, patience=0.5) as store:
        with store.database.pool.connect() as other, other.begin():
            other.exec_driver_sql("LOCK TABLE answers IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match="stayed locked"):
                await store.answers.record(rows("p", 1))
        await store.answers.record(rows("p", 1))


async def test_a_postgres_connection_that_is_cut_is_made_again(postgres_url: str) -> None:
    with open_store(f"{postgres_url}&application_name=to-be-cut") as store:
        await store.answers.record(rows("p", 1))
        for program in ("q", "r"):
            with open_store(postgres_url) as other, other.database.pool.connect() as link:
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to-be-cut'"
                assert link.exec_driver_sql(cut).scalars().all()
            await store.answers.record(rows(program, 3))
            assert len(store.answers.recall(program, ["e0", "e1", "e2"])) == 3


def test_postgres_acknowledges_only_what_is_on_disk(postgres_url: str) -> None:
    with (
        open_store(f"{postgres_url}%20-csynchronous_commit%3Doff") as store,
        store.database.pool.connect() as link,
    ):
        assert link.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


def test_sqlite_acknowledges_only_what_is_on_disk(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store, store.database.pool.connect() as link:
        assert link.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert link.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


# ---------------------------------------------------------------- damage and permissions


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "rung.db"
    file.write_bytes(b"this is a diary, not a database. " * 100)
    with pytest.raises(StoreError, match="is damaged or is not a rung store") as caught:
        open_store(f"sqlite:///{file}")
    assert f"mv {file} {file}.damaged" in caught.value.remedy
    assert file.read_bytes().startswith(b"this is a diary")


async def test_a_damaged_page_is_an_error_and_not_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "rung.db"
    with open_store(f"sqlite:///{file}") as store:
        await store.answers.record(rows("p", 300))
    whole = file.read_bytes()
    # All but the first page, which holds the schema.
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(StoreError, match="is damaged"), open_store(f"sqlite:///{file}") as store:
        store.answers.recall("p", [f"e{i}" for i in range(300)])
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="is damaged"), open_store(f"sqlite:///{file}") as store:
        store.answers.recall("p", [f"e{i}" for i in range(300)])


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "rung.db").touch()
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        assert store.runs.newest() == []


def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() == 0:  # permissions do not bind root, a read-only disk does
        mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "none", str(folder)]
        if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("root, and cannot mount a read-only disk here")
    else:
        folder.chmod(0o500)
    try:
        for place in (folder / "rung.db", folder / "deep" / "rung.db"):
            with pytest.raises(StoreError, match=r"(?i)permission|cannot open") as caught:
                open_store(f"sqlite:///{place}")
            assert "RUNG_STORE=sqlite:///FILE" in caught.value.remedy
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_store_that_became_read_only(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to remount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        open_store(f"sqlite:///{folder / 'rung.db'}").close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with (
            pytest.raises(StoreError, match=r"permission|cannot open"),
            open_store(f"sqlite:///{folder / 'rung.db'}") as store,
        ):
            store.runs.start("t", "h", "{}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_where_the_file_should_be_and_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        open_store(f"sqlite:///{tmp_path}")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot open"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'rung.db'}")


# ---------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "kind 'mysql' are not known"),
        ("postgresql+asyncpg://host/db", "kind 'postgresql\\+asyncpg' are not known"),
        (".rung/rung.db", "is not a store URL"),
        ("", "is not a store URL"),
        ("sqlite://", "names no plain file"),
        ("sqlite:///:memory:", "names no plain file"),
        ("sqlite:///a.db?mode=ro", "names no plain file"),
        ("sqlite://host/a.db", "names no plain file"),
    ],
)
def test_a_url_of_no_known_kind_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_store(url)
    assert "expected sqlite:///FILE or postgresql://" in caught.value.remedy


def test_a_relative_store_does_not_move_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///.rung/rung.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        asyncio.run(store.answers.record(rows("p", 1)))
        assert len(store.answers.recall("p", ["e0"])) == 1
    assert (tmp_path / ".rung" / "rung.db").is_file()
    assert not (tmp_path / "elsewhere" / ".rung").exists()


def test_odd_characters_in_the_path(tmp_path: Path) -> None:
    file = tmp_path / "ein Ordner mit % und é" / "rung.db"
    with open_store(f"sqlite:///{file}") as store:
        store.runs.start("t", "h", "{}")
    assert file.is_file()


def test_a_server_that_is_not_there_and_a_password_that_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot reach postgresql://me:") as caught:
        open_store("postgresql://me:hunter2@127.0.0.1:1/nothing", patience=0.5)
    assert "hunter2" not in str(caught.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match="psycopg") as caught:
        open_store("postgresql://me@127.0.0.1/x")
    assert "pip install 'rung[postgres]'" in caught.value.remedy


def test_every_failure_is_one_of_ours(tmp_path: Path) -> None:
    """Whatever the database says, the caller sees a RungError."""
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        _drop(store)
        with pytest.raises(RungError):
            store.runs.newest()
        with pytest.raises(RungError):
            asyncio.run(store.answers.record(rows("p", 1)))


def _drop(store: Store) -> None:
    with store.database.pool.begin() as link:
        for table in metadata.sorted_tables:
            link.execute(sa.schema.DropTable(table))
