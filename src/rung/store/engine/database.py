"""The database under every table: connections, one transaction at a time, the journal, migrations. SQLite and Postgres
alike."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import ConnectionPoolEntry

from rung.core.errors import RungError, StoreError
from rung.core.system.extras import require
from rung.store import migrations
from rung.store.engine import cipher
from rung.store.engine.address import NAME, make_private, shown
from rung.store.engine.faults import BROKEN, explain, passing
from rung.store.engine.journal import Journal

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

T = TypeVar("T")

metadata = sa.MetaData()
"""Every table of the store. Migrations build them; a test holds the two equal."""

serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""The type of a key that counts upwards."""

_LOCK = 0x72756E67


class StoreDatabase:
    """An open database. ``lite``: it is SQLite. ``journal`` commits the rows of many callers together."""

    def __init__(self, url: URL, patience: float) -> None:
        self.url = url
        self.lite = url.get_backend_name() == "sqlite"
        self._patience = patience
        self.pool = self._open_sqlite() if self.lite else self._open_postgres()
        self._writing = threading.Lock()
        self.journal = Journal(self.write)
        self._reader: sa.PoolProxiedConnection | None = None

    def close(self) -> None:
        """Write what is queued and let go of the connections."""
        self.journal.close()
        if self._reader is not None:
            self._reader.close()
        self.pool.dispose()

    # ------------------------------------------------------------ what tables do

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """What ``work`` returns, over one connection. Raises StoreError."""

        def once() -> T:
            with self.pool.connect() as link:
                return work(link)

        return self._attempt(once)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """What ``work`` returns, in one transaction that is durable when this returns. Raises StoreError; nothing is
        written then."""

        def once() -> T:
            with self._writing, self.pool.connect().execution_options(rung_write=True) as link, link.begin():
                return work(link)

        return self._attempt(once)

    def rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        """All rows of a query."""
        return self.read(lambda link: link.execute(query).all())

    def execute(self, statement: sa.Executable) -> int:
        """Run one statement in a transaction of its own. The number of rows that it changed."""
        return self.write(lambda link: cast("sa.CursorResult[Any]", link.execute(statement)).rowcount)

    def reader(self) -> sqlite3.Connection | None:
        """A connection of SQLite's own, kept for short reads by one thread; None where the store is elsewhere."""
        if not self.lite:
            return None
        if self._reader is None:
            self._reader = self.pool.raw_connection()
            cast(sqlite3.Connection, self._reader.driver_connection).execute("PRAGMA busy_timeout=0")
        return cast(sqlite3.Connection, self._reader.driver_connection)

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        if self.lite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # it takes 50 ms, and most stores are SQLite

        return postgresql.insert(table)

    def upsert(self, table: sa.Table, columns: Sequence[str]) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that sets ``columns`` anew where there is a row with that primary key."""
        statement = self.insert(table)
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in columns}
        )

    def exclude(self, link: sa.Connection, key: str) -> None:
        """Let no other transaction with the same ``key`` go on before this one ends (SQLite has one writer anyway)."""
        if not self.lite:
            link.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK & 0x7FFFFFFF, sa.func.hashtext(key))))

    def erase(self, work: Callable[[sa.Connection], T], *, vacuum: bool = False) -> T:
        """``write``, for what deletes: in SQLite freed pages are written over, and where ``work`` returned anything the
        log is emptied behind it (``truncate_log``), so that the file does not hold what is gone."""

        def once(link: sa.Connection) -> T:
            if self.lite:
                link.exec_driver_sql("PRAGMA secure_delete=ON")
            return work(link)

        done = self.write(once)
        if done:
            self.truncate_log(vacuum=vacuum)
        return done

    def truncate_log(self, *, vacuum: bool = False) -> None:
        """SQLite: write the log back into the file and empty it, so that what was deleted does not live on in it;
        ``vacuum`` gives the freed pages back to the disk. Left for another day when others are at work or space is
        short."""
        if not self.lite:
            return
        try:
            with self._writing, self.pool.connect() as link:
                if vacuum:
                    link.exec_driver_sql("VACUUM")
                link.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except BROKEN:
            return

    def size(self) -> int:
        """Bytes on disk of a SQLite store; 0 for Postgres, which gives space back by itself."""
        sides = (Path(f"{self.url.database}{end}") for end in ("", "-wal") if self.lite)
        return sum(side.stat().st_size for side in sides if side.exists())

    def _attempt(self, once: Callable[[], T]) -> T:
        """Do it; while another holds the lock or the connection drops, do it again until ``patience`` is over."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return once()
            except RungError:
                raise
            except BROKEN as error:
                if not passing(error) or time.monotonic() >= deadline:
                    raise explain(error, self.url, self._patience) from error
            time.sleep(random.uniform(0.01, 0.05))

    # ------------------------------------------------------------ opening

    def migrate(self) -> None:
        """Bring the schema up to date, under a lock that other processes wait for. ``open_store`` has done it
        already."""
        if self.lite:
            try:
                make_private(Path(cast(str, self.url.database)))
            except OSError as error:
                raise explain(error, self.url, self._patience) from error
            self._attempt(self._use_wal)
        if self.read(self._revision) != migrations.revisions()[-1]:
            self.write(self._upgrade)

    def _upgrade(self, link: sa.Connection) -> None:
        if not self.lite:
            link.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        revision = self._revision(link)
        if revision == migrations.revisions()[-1]:
            return  # another process was quicker
        if revision is None:
            if sa.inspect(link).has_table(migrations.BEFORE):
                file = self.url.database if self.lite else ""
                raise StoreError(
                    f"{shown(self.url)} was made before the first release, and cannot be read any more",
                    remedy=f"begin a new one: mv {file} {file}.old" if file else f"name another store: {NAME}",
                    code="old-store",
                )
            taken = sorted(set(sa.inspect(link).get_table_names()) & set(metadata.tables))
            if taken:
                raise StoreError(
                    f"{shown(self.url)} holds a table {taken[0]!r} that rung did not make",
                    remedy=f"name another store: {NAME}",
                )
        migrations.upgrade(link)

    def _revision(self, link: sa.Connection) -> str | None:
        """The schema's revision; None: no schema yet. Raises StoreError when it is newer than this program."""
        if not sa.inspect(link).has_table(migrations.VERSION_TABLE):
            return None
        revision = link.exec_driver_sql(f"SELECT version_num FROM {migrations.VERSION_TABLE}").scalar_one_or_none()  # noqa: S608
        if revision is not None and revision not in migrations.revisions():
            raise StoreError(
                f"{shown(self.url)} has schema {revision}, this rung knows {migrations.revisions()[-1]} at most: "
                "a newer rung wrote it",
                remedy=f"type: pip install -U rung, or name another store: {NAME}",
            )
        return cast("str | None", revision)

    def _use_wal(self) -> None:
        with self.pool.connect() as link:
            if link.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
                link.exec_driver_sql("PRAGMA journal_mode=WAL")

    def _open_sqlite(self) -> sa.Engine:
        # SQLite's own waiting is cut in slices: between them _attempt sees the clock.
        key = cipher.read_key()
        dialect: dict[str, Any] = {"module": cipher.module()} if key else {}
        pool = sa.create_engine(self.url, connect_args={"timeout": min(self._patience, 2.0)}, **dialect)

        @sa.event.listens_for(pool, "connect")
        def set_up(link: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
            link.isolation_level = None  # no BEGIN behind our back: see begin
            if key:
                cipher.unlock(link, key)
            link.execute("PRAGMA synchronous=FULL")
            # Fewer, larger checkpoints: one of the default 1,000 pages would come with nearly every large batch.
            link.execute("PRAGMA wal_autocheckpoint=4000")
            link.execute("PRAGMA journal_size_limit=67108864")

        @sa.event.listens_for(pool, "begin")
        def begin(link: sa.Connection) -> None:
            # Taking the write lock at once is what makes SQLite wait for it instead of failing half-way.
            if link.get_execution_options().get("rung_write"):
                link.exec_driver_sql("BEGIN IMMEDIATE")

        return pool

    def _open_postgres(self) -> sa.Engine:
        require("psycopg", "postgres", "a Postgres store")
        # Tables name the condition of a partial index once, for SQLite: to name it for Postgres loads its dialect (60
        # ms, 6 MB).
        for index in (index for table in metadata.tables.values() for index in table.indexes):
            if (where := index.dialect_options["sqlite"]["where"]) is not None:
                index.dialect_options["postgresql"]["where"] = where
        pool = sa.create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
        wait = f"{max(1, int(self._patience * 1000))}ms"

        @sa.event.listens_for(pool, "connect")
        def set_up(link: Any, _: ConnectionPoolEntry) -> None:
            with link.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", (wait,))
                # An acknowledged row is durable, whatever the server's default; stricter settings stay.
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
                )
            link.commit()

        return pool
