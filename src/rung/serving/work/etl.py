"""A table in, a table out, with columns that programs answer.

Rows are worked off in pieces: what the journal (the store's results) has an answer for is taken from there, the rest is
answered, kept in the journal, and then written. So a run that was killed, or stopped at its budget, goes on by the same
command, and equal rows are asked once. A row that cannot be answered is a row of the table ``errors``, and empty in the
column.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from rung.core.codec import digest, spell
from rung.core.errors import InputError, StoreError
from rung.core.parts.meter import metered
from rung.core.parts.problem import Problems
from rung.core.system.ray import running
from rung.core.types import Budget, Input, Usage
from rung.documents.tables.layout import Row
from rung.documents.tables.rows import stream
from rung.serving.endpoints.local import Opened
from rung.serving.work.answering import answer_here, answer_on_ray
from rung.store import Store, StoredResult

PIECE = 500
"""Rows that are read, answered and written together."""

FAR = 20 * PIECE
"""The same, where Ray answers: to spread work has its price."""

ROW = "row"
"""The column that numbers the rows of the source, from 1."""

_REFUSED = (sa.exc.SQLAlchemyError, OSError)
"""What a target raises that cannot be written to."""


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A new column: ``opened`` is asked, its fields taken from the source's columns ``fields`` names (else of their own
    name)."""

    name: str
    opened: Opened
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """Where its answers are kept in the journal."""
        return f"etl:{self.opened.fingerprint}"

    def input(self, values: Mapping[str, Any]) -> Input:
        """What the program is asked about a row. Raises InputError for a column that there is not."""
        found = {}
        for name in self.opened.fields:
            column = self.fields.get(name, name)
            if column not in values:
                raise InputError(
                    f"the column {self.name} needs {name!r}, and the source has no column {column!r}",
                    remedy=f"name one: --from {name}=COLUMN; there are: {', '.join(values)}",
                )
            value = values[column]
            found[name] = value if isinstance(value, str) else "" if value is None else spell(value)
        return found


@dataclass
class EtlReport:
    """What was done: rows written, answers taken from the journal, answers made, rows that failed, what it cost."""

    rows: int = 0
    kept: int = 0
    asked: int = 0
    failed: int = 0
    stopped: str = ""
    usage: Usage = Usage()


@dataclass
class _Piece:
    """Rows that are written together: ``made`` by their number, with what was answered (those that the budget did not
    reach are left out), and their ``errors``. ``names`` are the target's columns."""

    rows: Sequence[tuple[int, Row]]
    names: Sequence[str]
    report: EtlReport
    made: dict[int, dict[str, Any]] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = {number: {ROW: number, **row.values} for number, row in self.rows}
        for number, row in self.rows:
            for name in row.values.keys() - set(self.names):
                self.note(number, name, "source", f"no row of the first {PIECE} has this column: it is left out")

    def note(self, number: int, column: str, stage: str, message: str) -> None:
        self.report.failed += 1
        self.errors.append({ROW: number, "column": column, "stage": stage, "message": message[:2000]})

    def inputs(self, column: AnswerColumn) -> dict[int, Input]:
        """What the program is asked, by row; a line of JSON may lack a field."""
        found = {}
        for number, row in self.rows:
            if number not in self.made:
                continue
            try:
                found[number] = column.input(row.values)
            except InputError as error:
                self.place(number, column.name, None, ("source", error.message))
        return found

    def place(self, number: int, column: str, output: Any, failed: tuple[str, str] | None) -> None:
        """Put an answer, or why there is none (stage and message), into a row."""
        if failed is not None and failed[0] == "budget":
            del self.made[number]
        elif failed is not None:
            self.made[number][column] = None
            self.note(number, column, *failed)
        else:
            self.made[number][column] = spell(output)


@dataclass
class Etl:
    """``target`` is a database's URL (SQLAlchemy), ``table`` its table. ``budget`` is in US dollars and tokens, over
    this run. ``on``: where programs answer, here (local) or on Ray's workers (ray)."""

    store: Store
    columns: Sequence[AnswerColumn]
    target: str
    table: str
    budget: Budget = Budget()
    concurrency: int = 64
    on: str = "local"

    async def run(self, source: Path, say: Callable[[EtlReport], None] = lambda report: None) -> EtlReport:
        """Work off ``source``. Raises InputError for a source or a target that does not fit, before anything is
        asked."""
        report, problems = EtlReport(), Problems()
        rows = enumerate(stream(source, problems), 1)
        first = list(itertools.islice(rows, PIECE))
        problems.demand(source)
        if not first:
            raise InputError("it holds no rows", file=source, remedy="name a table with a header and rows")
        names = tuple(dict.fromkeys(name for _, row in first for name in row.values))
        for column in self.columns:
            column.input(dict.fromkeys(names))
        added = [column.name for column in self.columns]
        far = self.on == "ray"
        with (
            _Target(self.target, self.table, names, added) as target,
            running() if far else nullcontext(),
            metered(self.budget) as meter,
        ):
            for piece in itertools.chain([first], _pieces(rows, FAR if far else PIECE)):
                work = _Piece(piece, names, report)
                await self._answer(work)
                target.write(list(work.made.values()), work.errors)
                report.rows += len(work.made)
                report.usage = meter.total
                say(report)
                if report.stopped:
                    break
        problems.demand(source)
        return report

    async def _answer(self, piece: _Piece) -> None:
        """Put answers, or why there is none, into a piece."""
        for column in self.columns:
            asked = piece.inputs(column)
            keys = {number: digest(dict(input)) for number, input in asked.items()}
            found = {key: json.loads(row.payload) for key, row in self._journal(column, keys).items() if not row.failed}
            piece.report.kept += sum(key in found for key in keys.values())
            todo = {keys[number]: input for number, input in asked.items() if keys[number] not in found}
            failed: dict[str, tuple[str, str]] = {}
            async for key, answer in self._ask(column, todo):
                if answer.failure is None:
                    found[key] = answer.output
                    piece.report.asked += 1
                else:
                    failed[key] = (answer.failure.where, answer.failure.message)
                    if answer.failure.where == "budget":
                        piece.report.stopped = answer.failure.message
            for number, key in keys.items():
                piece.place(number, column.name, found.get(key), failed.get(key))

    def _journal(self, column: AnswerColumn, keys: Mapping[int, str]) -> dict[str, StoredResult]:
        return self.store.results.get(column.scope, list(dict.fromkeys(keys.values())))

    async def _ask(self, column: AnswerColumn, todo: Mapping[str, Input]) -> Any:
        """Answers by key; each piece of them is in the journal before it is given out."""
        way = answer_on_ray if self.on == "ray" else answer_here
        async for answered in way(column.opened, todo, self.concurrency):
            kept = [
                StoredResult(column.scope, key, json.dumps(answer.output, ensure_ascii=False))
                for key, answer in answered
                if answer.failure is None
            ]
            await self.store.results.put(kept)
            # What another run has kept meanwhile stays, and is written by both.
            there = self.store.results.get(column.scope, [row.key for row in kept])
            for key, answer in answered:
                yield key, answer if answer.failure else replace(answer, output=json.loads(there[key].payload))


class _Target:
    """The table that is written, and ``errors`` beside it. What a row says is replaced when the row is written
    again."""

    def __init__(self, url: str, table: str, columns: Sequence[str], added: Sequence[str]) -> None:
        try:
            self.engine = sa.create_engine(url)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError):
            raise InputError(f"{url!r} is no database", remedy="write for instance --to sqlite:///out.db") from None
        if self.engine.dialect.name not in ("sqlite", "postgresql"):
            raise InputError(
                f"got {self.engine.dialect.name}, expected SQLite or Postgres", remedy="--to sqlite:///out.db"
            )
        if table == "errors":
            raise InputError("the table errors is for what failed", remedy="name another table: --table NAME")
        if ROW in added or len(set(added)) < len(added):
            raise InputError(
                f"new columns are called {', '.join(added)}; `{ROW}` numbers the rows, and each name is one column",
                remedy="give each another name: --column NAME=DIR",
            )
        if twice := [name for name in (*added, ROW) if name in columns]:
            raise InputError(
                f"the source has a column {twice[0]!r} already",
                remedy="give the new column another name: --column NAME=DIR",
            )
        metadata = sa.MetaData()
        self.rows = sa.Table(
            table,
            metadata,
            sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False),
            *(sa.Column(name, sa.Text) for name in (*columns, *added)),
        )
        self.errors = sa.Table(
            "errors",
            metadata,
            sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("column", sa.Text, primary_key=True),
            sa.Column("stage", sa.Text),
            sa.Column("message", sa.Text),
        )
        self._metadata = metadata

    def __enter__(self) -> _Target:
        try:
            self._check()
            self._metadata.create_all(self.engine)
        except _REFUSED as error:
            self.engine.dispose()
            raise InputError(_said(error), remedy="name another one: --to sqlite:///FILE, or make room") from None
        return self

    def __exit__(self, *error: object) -> None:
        self.engine.dispose()

    def write(self, rows: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]]) -> None:
        """In one transaction: the rows, and what of their errors is new; errors of rows that are good now are gone.
        Raises StoreError where the target does not take them."""
        try:
            with self.engine.begin() as link:
                self._replace(link, rows, errors)
        except _REFUSED as error:
            raise StoreError(
                _said(error), remedy="make room there, or wait for who locks it; then the same command goes on"
            ) from None

    def _replace(self, link: sa.Connection, rows: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]]) -> None:
        insert = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert
        names = [column.name for column in self.rows.columns]
        for some in _batched([row[ROW] for row in rows], PIECE):
            link.execute(sa.delete(self.errors).where(self.errors.c[ROW].in_(some)))
        if rows:
            statement = insert(self.rows)
            changed = {name: statement.excluded[name] for name in names if name != ROW}
            values = [{name: _cell(row.get(name)) if name != ROW else row[name] for name in names} for row in rows]
            link.execute(statement.on_conflict_do_update(index_elements=[ROW], set_=changed), values)
        if errors:
            link.execute(sa.insert(self.errors), list(errors))

    def _check(self) -> None:
        """Raises InputError where the table is there with other columns."""
        inspector = sa.inspect(self.engine)
        for table in (self.rows, self.errors):
            if not inspector.has_table(table.name):
                continue
            there = [column["name"] for column in inspector.get_columns(table.name)]
            wanted = [column.name for column in table.columns]
            if sorted(there) != sorted(wanted):
                raise InputError(
                    f"the target has a table {table.name} with the columns {', '.join(there)}; expected {', '.join(wanted)}",
                    remedy="name another table: --table NAME, or another target",
                )


def _said(error: BaseException) -> str:
    return f"cannot write to the target: {str(getattr(error, 'orig', None) or error).partition(chr(10))[0]}"


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else spell(value)


def _pieces(rows: Iterator[tuple[int, Row]], size: int) -> Iterator[list[tuple[int, Row]]]:
    while piece := list(itertools.islice(rows, size)):
        yield piece


def _batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
