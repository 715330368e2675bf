"""Every contract test runs over SQLite and over a real Postgres: one started here from the system's own binaries, or the one
at RUNG_TEST_POSTGRES_URL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.store import Store, open_store

# Read now: the tests' own environment is cleared of everything that begins with RUNG_.
_GIVEN = os.environ.get("RUNG_TEST_POSTGRES_URL")


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database that tests may fill. Skips where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if _GIVEN:
        yield _GIVEN
        return
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no Postgres: /usr/lib/postgresql/*/bin/postgres is missing and RUNG_TEST_POSTGRES_URL is not set")
    folder = Path(tempfile.mkdtemp(prefix="rung-postgres-"))
    user: str | None = None
    if os.geteuid() == 0:  # Postgres refuses to run as root
        user = "postgres"
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = folder / "data", folder / "log"
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "rung",
        "--auth=trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder, timeout=60)
    server = subprocess.Popen(
        [
            binaries / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ],
        stdout=subprocess.DEVNULL,
        stderr=log.open("wb"),
        user=user,
        cwd=folder,
    )
    try:
        import psycopg

        url = f"postgresql://rung@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"Postgres did not start: {log.read_text()}")
                time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: the data are thrown away
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A schema of its own in the server's database."""
    import psycopg

    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as link:
        link.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type,unused-ignore]
    separator = "&" if "?" in postgres_server else "?"
    yield f"{postgres_server}{separator}options=-csearch_path%3D{name}"
    with psycopg.connect(postgres_server, autocommit=True) as link:
        link.execute(f"DROP SCHEMA {name} CASCADE")  # type: ignore[arg-type,unused-ignore]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deep' / 'rung.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url) as opened:
        yield opened
