"""The database is read, and by nothing but the engine kept from being written."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rung.agents.tools import open_tools
from rung.core.errors import InputError
from rung.core.protocols import Tool
from tests.postgres import binaries, serve


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sh op?x=1.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL, photo BLOB);"
            "CREATE VIEW dear AS SELECT * FROM orders WHERE price > 10;"
        )
        rows = [(n, f"item {n}", n * 1.5, b"\0\1" if n == 3 else None) for n in range(1, 301)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return path


def opened(target: object) -> Tool:
    (made,) = open_tools({"name": "sql", "target": str(target), "seconds": 1.0})
    return made


async def test_questions_are_answered(file: Path) -> None:
    sql = opened(file)
    assert "orders(id INTEGER, item TEXT, price REAL, photo BLOB)" in sql.description
    assert "dear(" in sql.description
    assert await sql.call({"query": "SELECT count(*) AS n, max(price) FROM orders"}, key="") == (
        "n | max(price)\n300 | 450.0\n(1 row)"
    )
    assert "(2 bytes)" in await sql.call({"query": "SELECT photo FROM orders WHERE id = 3"}, key="")
    assert "NULL" in await sql.call({"query": "SELECT photo FROM orders WHERE id = 4"}, key="")
    many = await sql.call({"query": "WITH t AS (SELECT * FROM dear) SELECT id FROM t ORDER BY 1;"}, key="")
    assert many.endswith("(100 rows are shown, there are more)")


LONG = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
ATTACKS = [
    LONG,
    "DELETE FROM orders", "UPDATE orders SET price = 0", "INSERT INTO orders VALUES (0, 'a', 1, NULL)", "DROP TABLE orders",
    "CREATE TABLE x (y)", "CREATE TEMP TABLE x (y)", "SELECT 1; DROP TABLE orders", "ATTACH 'other.db' AS other", "VACUUM INTO 'copy.db'",
    "PRAGMA writable_schema = ON", "PRAGMA query_only = OFF", "PRAGMA journal_mode = DELETE", "SELECT load_extension('x')",
    "SELECT writefile('x', 'y')", "SELECT readfile('/etc/passwd')", "REPLACE INTO orders VALUES (1, 'a', 1, NULL)", "ANALYZE",
    "BEGIN EXCLUSIVE", "SELECT randomblob(1000000000)",
    "SELECT length(hex(zeroblob(900000000)))", "SELECT group_concat(printf('%.*c', 3000000, 'x'), '') FROM orders",
    "SELECT count(*) FROM orders a, orders b, orders c, orders d", "SELECT * FROM missing", "nonsense", "SELECT '" + "x" * 19_000,
    "SELECT fts3_tokenizer('simple')", "EXPLAIN DELETE FROM orders", "SELECT " + "(" * 1000 + "1" + ")" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("query", ATTACKS)
async def test_nothing_is_written_and_everything_ends(file: Path, query: str) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError) as raised:
        await opened(file).call({"query": query}, key="")
    assert raised.value.code == "sql"
    assert len(str(raised.value)) < 1000
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("query", ["SELECT printf('%.*c', 100000000, 'x')", "REINDEX", "SELECT 1e999, -1e999"])
async def test_what_is_harmless_stays_small(file: Path, query: str) -> None:
    before = file.read_bytes()
    assert len(await opened(file).call({"query": query}, key="")) < 1000
    assert file.read_bytes() == before


async def test_a_query_does_not_hold_up_others(file: Path) -> None:
    """What takes long runs in a process of its own: this one goes on."""
    done = threading.Event()
    threading.Timer(0.05, done.set).start()
    with pytest.raises(InputError):
        await opened(file).call({"query": LONG}, key="")
    assert done.is_set()


@pytest.mark.parametrize("target", ["", "absent.db"])
def test_a_file_must_be_there(target: str) -> None:
    with pytest.raises(InputError):
        open_tools(f"sql:{target}")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, only text that is long enough to be looked at " * 20)
    with pytest.raises(InputError):
        opened(tmp_path / "x.db")


async def test_a_server_is_asked_as_a_role_that_can_only_read() -> None:
    psycopg = pytest.importorskip("psycopg")
    if binaries() is None:
        pytest.skip("there is no Postgres on this machine")
    with serve() as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE TABLE orders (id int, item text)")
            admin.execute("INSERT INTO orders SELECT n, 'item ' || n FROM generate_series(1, 300) n")
            admin.execute("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
            admin.execute("CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT ON orders TO clerk")
            admin.execute("CREATE ROLE filer LOGIN; GRANT pg_read_server_files TO filer")
        for role in ("rung", "clerk", "filer"):
            with pytest.raises(InputError) as raised:
                opened(url.replace("rung@", f"{role}@"))
            assert raised.value.code == "may-write"
        sql = opened(url.replace("rung@", "reader@"))
        assert "orders(id integer, item text)" in sql.description
        assert await sql.call({"query": "SELECT count(*) FROM orders"}, key="") == "count\n300\n(1 row)"
        assert "there are more" in await sql.call({"query": "SELECT * FROM orders a, orders b, orders c"}, key="")
        for query in (
            "DELETE FROM orders", "SELECT 1; DELETE FROM orders", "COMMIT; DELETE FROM orders", "CREATE TEMP TABLE x (y int)",
            "SELECT pg_sleep(60)", "COPY orders TO PROGRAM 'cat'", "SELECT pg_read_file('/etc/passwd')", "nonsense",
            "SET default_transaction_read_only = off; DELETE FROM orders", "DO $$ BEGIN DELETE FROM orders; END $$",
        ):  # fmt: skip
            with pytest.raises(InputError) as raised:
                await sql.call({"query": query}, key="")
            assert raised.value.code == "sql"
        assert await sql.call({"query": "SELECT count(*) FROM orders"}, key="") == "count\n300\n(1 row)"
    with pytest.raises(InputError):
        opened("postgresql://nobody@127.0.0.1:1/none")
