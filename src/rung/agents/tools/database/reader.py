"""What reads a SQLite file for the tool ``sql``: a process of its own, started as a script; it imports nothing of rung.

One order on standard input (JSON: file, query, rows, bytes, seconds, memory), one answer on standard output (JSON:
columns, rows, more; or error). The file is opened read-only by the engine, an authorizer allows reading and nothing
else, and the limits of the engine and of the process hold for what a query makes on the way.
"""

import json
import sqlite3
import sys
import time
from contextlib import suppress
from urllib.parse import quote

FORBIDDEN = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "randomblob", "zeroblob"}
ALLOWED = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_FUNCTION,
}  # fmt: skip
PRAGMAS = {"table_info", "table_list", "index_list", "foreign_key_list"}


def authorize(action, one, two, database, source):
    if action == sqlite3.SQLITE_FUNCTION and str(two).lower() in FORBIDDEN:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if str(one).lower() in PRAGMAS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY


def limit(memory, seconds):
    try:
        import resource
    except ImportError:
        return
    for name, most in (("RLIMIT_AS", memory), ("RLIMIT_CPU", seconds + 1), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (most, most))


def connect(file, seconds):
    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True, isolation_level=None, timeout=seconds)
    for name, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, 4_000_000), (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0), (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 100), (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (sqlite3.SQLITE_LIMIT_COLUMN, 500), (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):  # fmt: skip
        connection.setlimit(name, most)
    for line in (
        "PRAGMA query_only=ON",
        "PRAGMA trusted_schema=OFF",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA hard_heap_limit=200000000",
    ):
        connection.execute(line)
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    connection.set_authorizer(authorize)
    return connection


def shown(value, most):
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, str):
        return value if len(value) <= most else value[:most] + "…"
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return str(value)
    return value


def answer(order):
    connection = connect(order["file"], order["seconds"])
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    cursor = connection.execute(order["query"])
    columns = [item[0] for item in cursor.description or ()]
    rows, size, more = [], 0, False
    for row in cursor:
        if len(rows) == order["rows"] or size > order["bytes"]:
            more = True
            break
        cells = [shown(value, order["cell"]) for value in row]
        size += sum(len(str(cell)) + 3 for cell in cells)
        rows.append(cells)
    return {"columns": columns, "rows": rows, "more": more}


def main():
    order = json.load(sys.stdin)
    limit(order["memory"] << 20, int(order["seconds"]) + 1)
    try:
        told = answer(order)
    except MemoryError:
        told = {"error": "it needs too much memory"}
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        told = {"error": str(error)}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
