"""What a cleaning did: counts and examples by reason, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rung.core.codec import decode, encode
from rung.core.parts.problem import Problem, Problems
from rung.data.rows.records import Record
from rung.safety import private

EXAMPLES = 5
"""Examples that are shown for a reason."""
PROBLEMS = 1000
"""Unreadable rows that are listed."""
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row is not kept: a word that is counted, and what exactly."""

    reason: str
    detail: str = ""


@dataclass(slots=True)
class Reason:
    """How many rows, and some examples: the row's id, what exactly, the beginning of its text (with personal data
    masked)."""

    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, record: Record, detail: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            text = record.whole[:400]
            shown = " ".join(private.mask(text, private.find(text)).split())[:100]
            self.examples.append({"id": record.id, "why": detail[:200], "text": shown})


@dataclass(slots=True)
class Report:
    """``dropped`` and ``listed`` by reason (what is listed is kept), ``masked`` by kind. ``unread`` rows could not be
    read; the first of them are ``problems``. ``notes`` are what the user should know; ``resumed`` rows were done by a
    run that was killed."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, Reason] = field(default_factory=dict)
    listed: dict[str, Reason] = field(default_factory=dict)
    masked: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resumed: int = 0

    def drop(self, record: Record, why: Drop) -> None:
        self.dropped.setdefault(why.reason, Reason()).add(record, why.detail)

    def mention(self, record: Record, reason: str, detail: str) -> None:
        """List a row that is kept."""
        self.listed.setdefault(reason, Reason()).add(record, detail)

    def take(self, problems: Problems) -> None:
        """Move over what could not be read since the last call."""
        self.unread += problems.counts["error"]
        self.problems += problems.found[: PROBLEMS - len(self.problems)]
        problems.found.clear()
        problems.counts.clear()

    def document(self) -> dict[str, Any]:
        """As plain JSON; ``restore`` reads it."""
        return {
            "format": FORMAT,
            "read": self.read,
            "kept": self.kept,
            "dropped": _plain(self.dropped),
            "listed": _plain(self.listed),
            "masked": dict(sorted(self.masked.items())),
            "unread": self.unread,
            "problems": encode(self.problems),
            "notes": self.notes,
        }

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> Report:
        """The report of a run that was killed. Raises KeyError or TypeError for another document."""
        return cls(
            read=document["read"],
            kept=document["kept"],
            dropped={name: Reason(**reason) for name, reason in document["dropped"].items()},
            listed={name: Reason(**reason) for name, reason in document["listed"].items()},
            masked=Counter(document["masked"]),
            unread=document["unread"],
            problems=decode(list[Problem], document["problems"]),
            resumed=document["read"],
        )

    def text(self) -> str:
        """For people."""
        dropped = sum(reason.count for reason in self.dropped.values())
        out = [f"{self.read:,} rows read, {self.kept:,} kept, {dropped:,} dropped"]
        for title, reasons in (("Dropped", self.dropped), ("Kept, but worth a look", self.listed)):
            if reasons:
                out += ["", f"{title}:"]
            for name, reason in sorted(reasons.items(), key=lambda item: -item[1].count):
                out.append(f"  {reason.count:>7,}  {name}")
                out += [
                    f"           {e['id']}: {e['why'] + ': ' if e['why'] else ''}{e['text']}" for e in reason.examples
                ]
        if self.masked:
            out += ["", "Masked: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.masked.items()))]
        if self.unread:
            out += ["", f"{self.unread:,} rows could not be read:", *(f"  {one}" for one in self.problems[:EXAMPLES])]
        return "\n".join([*out, *([""] if self.notes else []), *self.notes])


def _plain(reasons: Mapping[str, Reason]) -> dict[str, Any]:
    return {name: {"count": reason.count, "examples": reason.examples} for name, reason in sorted(reasons.items())}


class RowFilter(Protocol):
    """A filter: for each row the row, perhaps changed, or why it is dropped. What is masked or listed goes into the
    report."""

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]: ...
