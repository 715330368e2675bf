"""``sql:FILE`` and ``sql:postgresql://...``: ask a database, read-only by the engine, never by reading the query.

SQLite files are read by a process of their own (``reader``). A PostgreSQL role that may write, or that the server
trusts with its files, is
refused: then queries run in read-only transactions under a time limit, one statement each.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from rung.agents.tools.database.postgres import Postgres
from rung.agents.tools.database.rows import BYTES, CELL, ROWS, SECONDS, Rows, refused, table
from rung.agents.tools.database.shape import plain_select
from rung.agents.tools.function import FunctionTool, tool
from rung.core.errors import InputError
from rung.core.parts.place import here

ABOUT = "Ask a database that can only be read."
MEMORY = 512
"""MB of address space of the process that reads."""


def read_sqlite(file: Path, query: str, seconds: float = SECONDS) -> Rows:
    """The first rows of a query. Raises InputError (code ``sql``) for what the engine refuses, or a query that takes
    too long."""
    order = {
        "file": str(file.absolute()), "query": query, "rows": ROWS, "cell": CELL, "bytes": BYTES, "seconds": seconds, "memory": MEMORY,
    }  # fmt: skip
    script = Path(__file__).with_name("reader.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(script)],
            input=json.dumps(order).encode(), capture_output=True, timeout=seconds + 3, env={}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise refused("it takes too long") from None
    try:
        told = json.loads(done.stdout)
    except ValueError:
        raise refused("it takes too long, or too much memory") from None
    if "error" in told:
        raise refused("it takes too long" if told["error"] == "interrupted" else told["error"])
    return told["columns"], told["rows"], told["more"]


def read_tables(file: Path) -> dict[str, list[tuple[str, str]]]:
    """The tables of a SQLite file, each with its columns and their types. Raises InputError for another file."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
            return {
                name: connection.execute("SELECT name, type FROM pragma_table_info(?)", (name,)).fetchall()
                for (name,) in tables[:50]
            }
    except sqlite3.Error as error:
        raise InputError(f"tool sql: {file} cannot be read: {error}", remedy="name a SQLite file") from None


def outline(tables: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Tables with their columns, for a prompt."""
    lines = (
        f"{name}({', '.join(f'{column} {kind}'.strip() for column, kind in columns[:60])})"
        for name, columns in tables.items()
    )
    return "; ".join(lines)[:4000]


def open_sql(target: str = "", *, seconds: float = SECONDS, shape: Literal["free", "plain"] = "free") -> FunctionTool:
    """``target`` is a SQLite file, looked up beside the task's file, or the URL of a PostgreSQL server. ``shape``: any
    query, or (of a file) plain ones alone, which name tables and columns that there are (see ``plain_select``)."""
    pattern = ""
    if shape not in ("free", "plain"):
        raise InputError(f"tool sql: got shape {shape!r}", remedy="write shape: free or shape: plain")
    if shape == "plain" and target.startswith(("postgresql://", "postgres://")):
        raise InputError("tool sql: shape plain is for SQLite files", remedy="leave shape out")
    if target.startswith(("postgresql://", "postgres://")):
        server = Postgres(target)
        ask: Any = server.read
        about = server.outline
    else:
        file = here().path(target)
        if not target or not file.is_file():
            raise InputError(f"tool sql: there is no file {target!r}", remedy="write sql:FILE or sql:postgresql://...")
        tables = read_tables(file)
        about = outline(tables)
        if shape == "plain":
            pattern = plain_select({name: [column for column, _ in columns] for name, columns in tables.items()})

        def ask(query: str, seconds: float) -> Rows:
            return read_sqlite(file, query, seconds)

    async def sql(query: Annotated[str, Field(description="one SELECT", min_length=1, max_length=20_000)]) -> str:
        return table(*await asyncio.to_thread(ask, query, seconds))

    made = tool(sql, description=f"{ABOUT} Its tables: {about or 'none'}.", returns="untrusted")
    return replace(made, schema=shaped(made.schema, pattern)) if pattern else made


def shaped(schema: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    """The schema of a tool with a ``query`` that fits a pattern."""
    query = {**schema["properties"]["query"], "pattern": f"^(?:{pattern})$"}
    return {**schema, "properties": {**schema["properties"], "query": query}}
