"""Postgres with the pgvector extension: one table of id, vector and metadata (JSONB), exact or with an HNSW index.

Every call is one transaction, so what returned is on disk and what failed left nothing. A filter runs inside the
search: pgvector (0.8 and later) goes on along its graph until k rows passed; whoever still gets fewer is answered by a
scan.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from rung.core.errors import InputError, MissingExtra, RungError, ServerError, StoreError
from rung.core.protocols import Filter
from rung.core.system.extras import require
from rung.retrieval.filter.conditions import Combination, Condition, check, clean
from rung.retrieval.index.check import lots
from rung.retrieval.index.server import Hits, ServerIndex, read_url
from rung.retrieval.index.spec import Backend, IndexSpec, read_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOT = 500  # rows a statement: an HNSW index takes milliseconds a row
_MOST = {"f32": 2000, "f16": 4000}  # dimensions that pgvector's HNSW takes


@dataclass(frozen=True, slots=True)
class PgvectorOptions:
    """``index``: hnsw or exact (a scan). ``m``, ``build``, ``ef``: links and candidates of HNSW. ``type``: f32
    (vector) or f16 (halfvec). ``timeout``: seconds that the server may be silent. ``sslmode`` and
    ``application_name`` go to Postgres."""

    index: Literal["hnsw", "exact"] = "hnsw"
    m: int = 16
    build: int = 64
    ef: int = 64
    type: Literal["f32", "f16"] = "f32"
    timeout: float = 10.0
    options: str = ""
    sslmode: str = "prefer"
    application_name: str = "rung"


class PgvectorIndex(ServerIndex):
    """One table. Each thread that calls has a connection of its own."""

    def __init__(self, spec: IndexSpec, url: str, table: str, options: PgvectorOptions, dimensions: int) -> None:
        super().__init__(spec, dimensions)
        self._psycopg: Any = require("psycopg", "pgvector", "the index pgvector")
        require("psycopg.types.json", "pgvector", "the index pgvector")
        self._register: Any = require("pgvector.psycopg", "pgvector", "the index pgvector").register_vector
        kinds = require("pgvector", "pgvector", "the index pgvector")
        self._vector: Any = kinds.Vector if options.type == "f32" else kinds.HalfVector
        self._url = url
        self._table = f'"{table}"'
        self._plain = table
        self._options = options
        self._mine = threading.local()
        self._all: list[Any] = []
        self._lock = threading.Lock()
        self._column = "vector" if options.type == "f32" else "halfvec"
        if options.index == "hnsw" and dimensions > _MOST[options.type]:
            raise InputError(
                f"pgvector's HNSW takes {_MOST[options.type]} dimensions of {options.type} at most, got {dimensions}",
                remedy="add type=f16 (up to 4000) or index=exact to the index",
            )
        self._exists()

    def _count(self) -> int:
        with self._turn() as link:
            return int(link.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])  # noqa: S608

    # ------------------------------------------------------------ the server

    def _connect(self) -> Any:
        psycopg, patience = self._psycopg, self._options.timeout

        class Link(psycopg.Connection):  # type: ignore[misc, name-defined]
            """A connection that gives up on a server that is silent."""

            def wait(self, gen: Any, *rest: Any, **named: Any) -> Any:
                return super().wait(_impatient(gen, patience), *rest, **named)

        settings = {"sslmode": self._options.sslmode, "application_name": self._options.application_name}
        if self._options.options:
            settings["options"] = self._options.options
        given = psycopg.conninfo.conninfo_to_dict(self._url)
        host = given.get("host") or ""
        if "password" not in given and host not in ("", "localhost", "127.0.0.1", "::1", os.environ.get("PGHOST")):
            settings["password"] = (
                ""  # a collection's folder may name any host: PGPASSWORD is not for it (~/.pgpass is)
            )
        link = Link.connect(self._url, connect_timeout=max(2, int(patience)), autocommit=True, **settings)
        link.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(min(1000, max(1, self._options.ef)))])
        return link

    @contextmanager
    def _turn(self, *, atomic: bool = True) -> Iterator[Any]:
        """This thread's connection inside one transaction (or, for a single statement, without the two round trips
        that one costs); every failure of the server is one of ours."""
        psycopg = self._psycopg
        link = getattr(self._mine, "link", None)
        try:
            if link is None or link.closed:
                link = self._mine.link = self._connect()
                self._ready(link)
                with self._lock:
                    self._all.append(link)
            if atomic:
                with link.transaction():
                    yield link
            else:
                yield link
        except RungError:
            raise
        except (_SilentError, psycopg.OperationalError, psycopg.InterfaceError) as error:
            if link is not None:
                link.pgconn.finish()
            self._mine.link = None
            silent = isinstance(error, (_SilentError, psycopg.errors.ConnectionTimeout, psycopg.errors.QueryCanceled))
            said = f"no answer within {self._options.timeout:g} s" if silent else str(error).strip().splitlines()[0]
            raise ServerError(
                f"Postgres at {self._shown()} cannot be used: {said}",
                remedy="check that the server runs and the URL is right, then do it again"
                + ("; or add timeout=SECONDS to the index" if silent else ""),
            ) from None
        except psycopg.errors.DiskFull as error:
            raise StoreError(f"Postgres at {self._shown()} is full: {error}", remedy="make room on its disk") from None
        except psycopg.Error as error:
            raise StoreError(
                f"Postgres at {self._shown()} refused: {str(error).strip().splitlines()[0]}",
                remedy="check the user's rights and the table, then do it again",
            ) from None

    def _shown(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"

    def _ready(self, link: Any) -> None:
        """The extension's types, if it is there (it is made by the first write)."""
        if link.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
            self._register(link)
            link.execute("SELECT '[1]'::vector")  # loads the library, without which its settings do not exist
            version = link.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0]
            if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (0, 8):
                link.execute("SET hnsw.iterative_scan = 'strict_order'")

    def _inspect(self) -> bool:
        """Is the table there? Raises InputError when it holds other vectors than ours."""
        with self._turn() as link:
            row = link.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = to_regclass(%s) AND attname = 'vector' AND NOT attisdropped",
                [self._table],
            ).fetchone()
        if row is None:
            return False
        if row[0].rpartition(".")[2] != f"{self._column}({self.dimensions})":
            raise InputError(
                f"the table {self._plain} holds {row[0]}, expected {self._column}({self.dimensions})",
                remedy="use the embedder that it was built with, or name another table",
            )
        return True

    def _make(self) -> None:
        with self._turn() as link:
            try:
                with link.transaction():
                    link.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except (self._psycopg.errors.FeatureNotSupported, self._psycopg.errors.UndefinedFile):
                raise MissingExtra(
                    f"Postgres at {self._shown()} does not have the extension pgvector",
                    remedy="install it on the server (Debian: apt install postgresql-VERSION-pgvector)",
                ) from None
            # Two that make the table at once: the lock lets the second find it.
            link.execute("SELECT pg_advisory_xact_lock(hashtext('rung'), hashtext(%s))", [self._plain])
            link.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (id text PRIMARY KEY,"
                f" vector {self._column}({self.dimensions}) NOT NULL, metadata jsonb NOT NULL)"
            )
            link.execute(
                f"CREATE INDEX IF NOT EXISTS {self._part('metadata')} ON {self._table}"
                " USING gin (metadata jsonb_path_ops)"
            )
            if self._options.index == "hnsw":
                link.execute(
                    f"CREATE INDEX IF NOT EXISTS {self._part('vector')} ON {self._table} USING hnsw"
                    f" (vector {self._column}_ip_ops) WITH (m = {self._options.m},"
                    f" ef_construction = {max(self._options.build, 2 * self._options.m)})"
                )
        with self._turn() as link:
            self._ready(link)

    def _part(self, what: str) -> str:
        return f'"{self._plain[:50]}_{what}"'

    # ------------------------------------------------------------ writing

    def _cell(self, id: str, metadata: Mapping[str, Any]) -> str:
        if "\0" in id:
            raise InputError(f"the id {id!r} holds a NUL character, which Postgres does not take")
        return json.dumps(clean(metadata))

    def _write(self, ids: Sequence[str], rows: NDArray[np.float32], cells: Sequence[str], *, new: bool) -> None:
        conflict = (
            "" if new else " ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, metadata = excluded.metadata"
        )
        with self._turn() as link:
            try:
                for part in lots(len(ids), _LOT):
                    link.execute(
                        f"INSERT INTO {self._table} (id, vector, metadata) SELECT i, v::{self._column}, m::jsonb"  # noqa: S608
                        f" FROM unnest(%s::text[], %s::text[], %s::text[]) AS t(i, v, m){conflict}",
                        [list(ids[part]), [spell(row) for row in rows[part]], list(cells[part])],
                    )
            except self._psycopg.errors.UniqueViolation as error:
                found = re.search(r"\(id\)=\((.*)\)", str(error))
                raise InputError(
                    f"the id {found[1] if found else '?'!r} is there already", remedy="use upsert to replace it"
                ) from None

    def _delete(self, ids: Sequence[str]) -> int:
        with self._turn() as link:
            done = link.execute(f"DELETE FROM {self._table} WHERE id = ANY(%s)", [list(ids)])  # noqa: S608
            return int(done.rowcount)

    # ------------------------------------------------------------ reading

    def _condition(self, where: Filter | None) -> tuple[str, list[Any]]:
        return as_sql(where)

    def _search(self, queries: NDArray[np.float32], k: int, condition: Any) -> list[Hits]:
        holds, values = condition
        texts = [self._vector(query) for query in queries]
        # In an exact scan the id decides between equals; an index can only be asked for the distance.
        tie = ", id" if self._options.index == "exact" else ""
        statement = (
            f"SELECT id, -(vector <#> %s::{self._column}) FROM {self._table} WHERE {holds}"  # noqa: S608
            f" ORDER BY vector <#> %s::{self._column}{tie} LIMIT %s"
        )
        wide = k > self._options.ef and self._options.index == "hnsw"
        with self._turn(atomic=wide) as link:
            if wide:
                link.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(min(1000, k))])
            found = self._ask(link, statement, texts, values, k)
        poor = [at for at, hits in enumerate(found) if len(hits) < k]
        if poor and self._options.index == "hnsw":
            with self._turn() as link:
                link.execute("SET LOCAL enable_indexscan = off")
                again = self._ask(link, statement, [texts[at] for at in poor], values, k)
            for at, hits in zip(poor, again, strict=True):
                found[at] = hits
        return found

    def _ask(self, link: Any, statement: str, texts: Sequence[Any], values: Sequence[Any], k: int) -> list[Hits]:
        if len(texts) == 1:
            return [link.execute(statement, [texts[0], *values, texts[0], k]).fetchall()]
        out: list[Hits] = []
        for part in lots(len(texts), 100):
            with link.pipeline():  # one round trip for many
                asked = [link.execute(statement, [text, *values, text, k]) for text in texts[part]]
            out.extend(cursor.fetchall() for cursor in asked)
        return out

    def close(self) -> None:
        with self._lock:
            for link in self._all:
                if not link.closed:
                    link.close()
            self._all.clear()


class _SilentError(Exception):
    """The server has not sent or taken a byte for as long as we wait."""


def _impatient(gen: Generator[Any, Any, Any], patience: float) -> Generator[Any, Any, Any]:
    """psycopg's own waiting, which gives up after ``patience`` seconds without a sign of life."""
    heard = time.monotonic()
    try:
        state = next(gen)
        while True:
            ready = yield state
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > patience:
                raise _SilentError
            state = gen.send(ready)
    except StopIteration as done:
        return done.value


def spell(vector: NDArray[np.float32]) -> str:
    """pgvector's text form, with as many digits as a float32 has."""
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def open_pgvector(spec: IndexSpec, folder: Path, dimensions: int) -> PgvectorIndex:
    example = "pgvector:postgresql://user@host:5432/database/table"
    parts, steps = read_url(spec, ("postgresql", "postgres"), 2, example)
    table = unquote(steps[1])
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,49}", table):
        raise InputError(
            f"the table's name is {table!r}, expected letters, digits and _, at most 50", remedy="choose a simple name"
        )
    url = f"postgresql://{parts.netloc}/{parts.path.split('/')[1]}"
    return PgvectorIndex(spec, url, table, read_options(spec, PgvectorOptions), dimensions)


# ---------------------------------------------------------------- filters


def as_sql(where: Filter | None, column: str = "metadata") -> tuple[str, list[Any]]:
    """The filter as a Postgres condition over the JSONB column, with psycopg's ``%s`` placeholders and their values.

    Never null. ``eq`` and ``in`` are containments, which a GIN index with jsonb_path_ops answers; ranges are jsonpath,
    whose texts compare by code point.
    """
    values: list[Any] = []
    return _sql(check(where), column, values), values


_SQL_SIGN = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _sql(node: Condition | Combination, column: str, values: list[Any]) -> str:
    if isinstance(node, Combination):
        parts = [_sql(part, column, values) for part in node.parts]
        if not parts:
            return "FALSE" if node.any else "TRUE"
        return "(" + (" OR " if node.any else " AND ").join(parts) + ")"
    if node.operator == "exists":
        values += [node.field, node.field]
        missing = f"({column} -> %s IS NULL OR {column} -> %s IN ('null'::jsonb, '[]'::jsonb))"
        return f"NOT {missing}" if node.value else missing
    if node.operator in ("eq", "ne", "in"):
        items = node.value if node.operator == "in" else (node.value,)
        for item in items:
            values += [json.dumps({node.field: item}), json.dumps({node.field: [item]})]
        one = f"{column} @> %s::jsonb OR {column} @> %s::jsonb"
        found = "(" + " OR ".join([one] * len(items)) + ")" if items else "FALSE"
        return f"NOT {found}" if node.operator == "ne" else found
    values += [node.field, json.dumps({"v": node.value})]
    sign = _SQL_SIGN[node.operator]
    return f"COALESCE(jsonb_path_exists({column} -> %s, '$[*] ? (@ {sign} $v)', %s::jsonb), FALSE)"


BACKEND = Backend(open_pgvector, sweep={"pgvector": ("ef", (16, 40, 100, 200))})
