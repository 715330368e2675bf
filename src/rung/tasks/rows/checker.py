"""Where one task is examined: its definition, the lines of its file, and the problems told so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rung.core.parts.problem import Problems
from rung.core.system.files import under
from rung.documents.tables.layout import Row
from rung.tasks.file.check import expand, line_of
from rung.tasks.file.definition import Definition
from rung.tasks.file.yaml import Location

_LINED = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".txt", ".log")


@dataclass(slots=True)
class Draft:
    """A row on its way to an example."""

    row: Row
    split: str
    input: dict[str, str]
    reference: Any = None
    group: str | None = None
    id: str = ""
    key: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskChecker:
    """A task file under examination. Each check tells its problems here and goes on, so that all are told at once."""

    path: Path
    definition: Definition
    lines: Mapping[Location, int]
    problems: Problems
    skipped: Counter[str] = field(default_factory=Counter)

    def line(self, *location: str | int) -> int | None:
        """The line of a key of the task file, or of the nearest key above it."""
        return line_of(self.lines, *location)

    def report(
        self, message: str, remedy: str, *location: str | int, level: Literal["error", "warning"] = "error"
    ) -> None:
        """A problem of the task file, at the line of the key ``location``."""
        self.problems.add(message, remedy, file=self.path, line=self.line(*location), level=level)

    def report_row(
        self, row: Row, message: str, remedy: str, kind: str, *, level: Literal["error", "warning"] = "error"
    ) -> None:
        """A problem of a row. Files without lines get the row's number in words."""
        lined = row.file.name.lower().removesuffix(".gz").endswith(_LINED)
        told = message if lined else f"row {row.line:,}: {message}"
        self.problems.add(told, remedy, file=row.file, line=row.line if lined else None, level=level, kind=kind)

    def place(self, text: str, *location: str | int) -> Path | None:
        """A path of the task file, variables expanded, relative to it; None (and a problem) when a variable is not
        set."""
        expanded, missing = expand(text)
        if missing:
            self.report(f"{text} names ${{{missing}}}, which is not set", f"type: export {missing}=FOLDER", *location)
            return None
        return under(self.path.parent, expanded)


def short(value: Any, width: int = 60) -> str:
    """A value as it is shown in a message."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
