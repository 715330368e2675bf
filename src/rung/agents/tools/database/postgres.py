"""A PostgreSQL server for the tool ``sql``: asked as a role that can only read."""

from __future__ import annotations

from typing import Any

from rung.agents.tools.database.rows import BYTES, CELL, ROWS, SECONDS, Rows, refused
from rung.core.errors import InputError
from rung.core.system.extras import require


class Postgres:
    """Asks a PostgreSQL server as a role that can only read."""

    def __init__(self, url: str) -> None:
        self._psycopg = require("psycopg", "postgres", "the tool sql with a PostgreSQL server")
        self._url = url
        self.outline = self._checked()

    def _connect(self, seconds: float) -> Any:
        options = f"-c default_transaction_read_only=on -c statement_timeout={int(seconds * 1000)}"
        try:
            return self._psycopg.connect(self._url, options=options, connect_timeout=10)
        except self._psycopg.Error as error:
            raise InputError(
                f"tool sql: the server cannot be reached: {str(error).splitlines()[0]}",
                remedy="check the address and the role",
            ) from None

    def _checked(self) -> str:
        """The tables that the role may read. Raises InputError (code ``may-write``) for a role that could do more than
        read."""
        with self._connect(SECONDS) as connection:
            connection.read_only = True
            why = connection.execute(_POWERS).fetchone()
            columns = connection.execute(_COLUMNS).fetchall()
        if why is not None:
            raise InputError(
                f"tool sql: the role {why[0]} {why[1]}, expected one that can only read",
                remedy="CREATE ROLE reader LOGIN PASSWORD '...'; GRANT pg_read_all_data TO reader",
                code="may-write",
            )
        tables: dict[str, list[str]] = {}
        for table, column, kind in columns:
            tables.setdefault(table, []).append(f"{column} {kind}")
        return "; ".join(f"{name}({', '.join(items[:60])})" for name, items in list(tables.items())[:50])[:4000]

    def read(self, query: str, seconds: float = SECONDS) -> Rows:
        """As ``read_sqlite``. Rows are read one by one: what is cut off is never fetched."""
        rows: list[list[Any]] = []
        size, more = 0, False
        try:
            with self._connect(seconds) as connection, connection.cursor() as cursor:
                connection.read_only = True
                for row in cursor.stream(query):
                    if len(rows) == ROWS or size > BYTES:
                        more = True
                        break
                    cells = [_cell(value) for value in row]
                    size += sum(len(str(cell)) + 3 for cell in cells)
                    rows.append(cells)
                names = [item.name for item in cursor.description or ()]
                if more:
                    connection.cancel()
                connection.rollback()
        except self._psycopg.Error as error:
            if not more:
                raise refused(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
        return names, rows, more


_POWERS = """
SELECT current_user, why FROM (
  SELECT 'is a superuser' AS why WHERE (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  UNION ALL SELECT 'may make databases or roles' WHERE (SELECT rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
  UNION ALL SELECT 'is a ' || rolname FROM pg_roles
    WHERE rolname IN ('pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
      AND pg_has_role(current_user, oid, 'member')
  UNION ALL SELECT 'may write to ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
      AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
) powers LIMIT 1
"""
_COLUMNS = """
SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c
WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY c.table_name, c.ordinal_position LIMIT 2000
"""


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, bytes | memoryview):
        return f"({len(value):,} bytes)"
    text = str(value)
    return text if len(text) <= CELL else text[:CELL] + "…"
