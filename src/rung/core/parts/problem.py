"""What is wrong with what somebody gave us, collected so that everything is told in one go."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rung.core.errors import InputError

SHOWN = 5
"""Problems of one kind in one file that are listed one by one; the rest is a count."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``line`` is 1-based; an ``error`` stops what is read from loading, a ``warning`` does not. ``code``
    names its kind (see RungError)."""

    message: str
    remedy: str = ""
    file: str = ""
    line: int | None = None
    level: Literal["error", "warning"] = "error"
    code: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.level}: {self.message}" + (f"\n  → {self.remedy}" if self.remedy else "")


@dataclass(slots=True)
class Problems:
    """Collects problems; those of one ``kind`` in one file beyond SHOWN are counted, not listed."""

    found: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How many there were of each level, also those that are not listed."""
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(
        self,
        message: str,
        remedy: str = "",
        *,
        file: str | Path = "",
        line: int | None = None,
        level: Literal["error", "warning"] = "error",
        kind: str = "",
        code: str = "",
    ) -> None:
        name = str(file)
        self.counts[level] += 1
        if kind:
            self._seen[kind, name, level] += 1
            if self._seen[kind, name, level] > SHOWN:
                return
        self.found.append(Problem(message, remedy, name, line, level, code))

    def extend(self, other: Problems) -> None:
        """Take over what another collector has."""
        self.found += other.close()
        self.counts.update(other.counts)

    @property
    def failed(self) -> bool:
        return any(problem.level == "error" for problem in self.found)

    def close(self) -> tuple[Problem, ...]:
        """All problems, errors first, with one line for each kind that was cut short."""
        cut = [
            Problem(
                f"{count - SHOWN:,} more rows: {kind}", "", file, None, "warning" if level == "warning" else "error"
            )
            for (kind, file, level), count in self._seen.items()
            if count > SHOWN
        ]
        return tuple(sorted([*self.found, *cut], key=lambda problem: problem.level))

    def demand(self, file: Path) -> None:
        """For a file that is read by itself: raises its first error as InputError."""
        for problem in self.close():
            if problem.level == "error":
                raise InputError(
                    problem.message,
                    remedy=problem.remedy,
                    file=problem.file or file,
                    line=problem.line,
                    code=problem.code,
                )


def nearest(name: str, known: Iterable[str]) -> str:
    """The sentence that helps with an unknown name: near misses, or everything that is known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
    return f"known: {shown or 'none'}"
