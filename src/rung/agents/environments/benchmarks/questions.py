"""Questions that a database answers: text to SQL, in the form of Spider's files (Yu et al. 2018), judged by what the
query gives."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from rung.agents.environments.environment import Judgement, Observation, number
from rung.agents.loop.move import Call
from rung.agents.tools.database.rows import Rows, table
from rung.agents.tools.database.shape import plain_select
from rung.agents.tools.database.sql import outline, read_sqlite, read_tables
from rung.core.errors import InputError
from rung.core.types import ToolSpec

FILES = ("questions.jsonl", "dev.json")
SPLITS = ("train", "dev", "test", "test")


@dataclass(frozen=True, slots=True)
class SqlQuestion:
    """A question, a query that answers it, and the SQLite file that it is about."""

    text: str
    query: str
    file: Path


@lru_cache(maxsize=4)
def read_questions(folder: Path) -> list[SqlQuestion]:
    """``questions.jsonl`` or ``dev.json`` of a folder: rows with question, query (or SQL) and db_id, whose database is
    DB.sqlite there, or database/DB/DB.sqlite. Raises InputError for what is missing or something else."""
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder} holds no questions", remedy=f"expected {' or '.join(FILES)} in it")
    found = [_question(folder, file, line, row) for line, row in _rows(file)]
    if not found:
        raise InputError(f"{file} holds no questions", remedy="give at least one")
    return found


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file, with their line, or in a JSON file their place, from 1."""
    line = 0
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            yield from enumerate(json.loads(text), 1)
            return
        for line, one in enumerate(text.splitlines(), 1):
            if one.strip():
                yield line, json.loads(one)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"cannot be read: {error}", file=file, line=line or None, remedy="write one JSON object a line"
        ) from None


def _question(folder: Path, file: Path, line: int, row: Any) -> SqlQuestion:
    try:
        return SqlQuestion(str(row["question"]), str(row.get("query") or row["SQL"]), _file(folder, row))
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            "a row without question, query or db_id", file=file, line=line, remedy="give each row all three"
        ) from None


def _file(folder: Path, row: dict[str, Any]) -> Path:
    name = str(row["db_id"])
    places = (folder / f"{name}.sqlite", folder / "database" / name / f"{name}.sqlite")
    return next((place for place in places if place.is_file()), places[0])


class TextToSql:
    """``folder``: see ``read_questions``. The query that is handed in first and runs is the answer; one that the engine
    refuses may be mended. ``shape``: see the tool ``sql``."""

    name = "text-to-sql"

    def __init__(self, folder: str = "", *, shape: Literal["free", "plain"] = "free") -> None:
        if not folder:
            raise InputError("text-to-sql is opened by the folder of its data", remedy="write text-to-sql:FOLDER")
        if shape not in ("free", "plain"):
            raise InputError(f"got shape {shape!r}", remedy="free or plain")
        self._questions = read_questions(Path(folder).expanduser().absolute())
        self.shape = shape
        self._at = 0
        self._given: Rows | None = None

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        """Positions in the file: every fourth is for training, every fourth for dev, the others for test."""
        return [str(at) for at in range(len(self._questions)) if SPLITS[at % 4] == split][:count]

    @property
    def _question(self) -> SqlQuestion:
        return self._questions[self._at]

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        at = number(scenario, self.name)
        if at >= len(self._questions):
            raise InputError(
                f"text-to-sql has no scenario {scenario!r}: there are {len(self._questions)} questions",
                remedy="begin at 0",
                code="scenario",
            )
        self._at, self._given = at, None
        return Observation(self._question.text, {"question": self._question.text})

    def tools(self) -> Sequence[ToolSpec]:
        return (_spec(self._question.file, self.shape),)

    def step(self, call: Call) -> Observation:
        if self._given is not None:
            return Observation("The question has been answered.", refused=True)
        try:
            self._given = read_sqlite(self._question.file, str(call.arguments["query"]))
        except InputError as refused:
            return Observation(refused.message, refused=True)
        return Observation(table(*self._given), trust="untrusted", done=True)

    def fork(self) -> Self:
        return copy.copy(self)

    def state(self) -> Any:
        return {"question": self._at, "given": self._given and list(self._given)}

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        if self._given is None:
            return Judgement(False, ("no query was answered",))
        wanted = read_sqlite(self._question.file, self._question.query)
        ordered = re.search(r"\border\s+by\b", self._question.query, re.IGNORECASE) is not None
        right = _same(self._given, wanted, ordered)
        return Judgement(right, () if right else (f"the rows are others than those of {self._question.query}",))

    def oracle(self) -> list[Call]:
        return [Call("answer", {"query": self._question.query})]

    def domain(self) -> None:
        return None


@lru_cache(maxsize=64)
def _spec(file: Path, shape: str) -> ToolSpec:
    tables = read_tables(file)
    query: dict[str, Any] = {"type": "string", "description": "one SELECT", "minLength": 1, "maxLength": 2000}
    if shape == "plain":
        pattern = plain_select({name: [column for column, _ in columns] for name, columns in tables.items()})
        query["pattern"] = f"^(?:{pattern})$"
    about = f"Answer the question by a query of a SQLite database. Its tables: {outline(tables)}."
    schema = {"type": "object", "properties": {"query": query}, "required": ["query"], "additionalProperties": False}
    return ToolSpec("answer", about, schema)


def _same(given: Rows, wanted: Rows, ordered: bool) -> bool:
    """Equal rows, as often; in order where the right query orders them. Names of columns do not count, nor does the
    last bit of a sum."""
    sides = [
        [tuple(round(cell, 6) if isinstance(cell, float) else cell for cell in row) for row in side[1]]
        for side in (given, wanted)
    ]
    return given[2] == wanted[2] and (sides[0] == sides[1] if ordered else Counter(sides[0]) == Counter(sides[1]))
