"""Windows by event time: tumbling or sliding, closed by a watermark, aggregated by group (Akidau et al. 2015, The
Dataflow Model)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from rung.core.codec import spell
from rung.core.errors import InputError

OPERATIONS = ("count", "sum", "mean", "min", "max")
QUIET = 10.0
MILLISECONDS = 1e11
"""A time as a number from here on is in milliseconds: in seconds it would be the year 5138."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """``count``, or ``sum``, ``mean``, ``min`` or ``max`` of a field."""

    operation: str
    field: str = ""

    @classmethod
    def read(cls, text: str) -> Aggregate:
        """``count`` or ``OPERATION:FIELD``. Raises InputError."""
        operation, _, name = text.partition(":")
        if operation not in OPERATIONS or bool(name) != (operation != "count"):
            raise InputError(
                f"got the aggregate {text!r}",
                remedy="expected count, or sum, mean, min or max with a field: mean:price",
            )
        return cls(operation, name)

    @property
    def name(self) -> str:
        return f"{self.operation}_{self.field}" if self.field else self.operation


def read_time(value: Any) -> float:
    """Seconds since 1970 of a number (seconds, or milliseconds where it is large) or an ISO 8601 text (without a zone:
    UTC). Raises InputError."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, bool) or not math.isfinite(value):
            raise ValueError
        return float(value) / (1000 if abs(value) >= MILLISECONDS else 1)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{spell(value)[:60]!r} is no time", remedy="write seconds since 1970, or ISO 8601") from None


def shown_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class _Sums:
    """What is known of a group in a window: rows, and for each field its sum, least and most."""

    count: int = 0
    fields: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def add(self, numbers: Mapping[str, float]) -> None:
        self.count += 1
        for name, value in numbers.items():
            total, low, high = self.fields.get(name, (0.0, math.inf, -math.inf))
            self.fields[name] = (total + value, min(low, value), max(high, value))

    def value(self, aggregate: Aggregate) -> float | int:
        if aggregate.operation == "count":
            return self.count
        total, low, high = self.fields[aggregate.field]
        return {"sum": total, "mean": total / self.count, "min": low, "max": high}[aggregate.operation]


@dataclass
class _Window:
    groups: dict[tuple[str, ...], _Sums] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    """By partition, the offset of its first row."""


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A group of a window that is closed."""

    start: float
    end: float
    group: tuple[str, ...]
    values: Mapping[str, float | int]
    whole: bool = True

    def document(self, by: Sequence[str]) -> dict[str, Any]:
        group = dict(zip(by, self.group, strict=True))
        ends = {"start": shown_time(self.start), "end": shown_time(self.end)}
        return {**ends, **group, **self.values, **({} if self.whole else {"whole": False})}


@dataclass
class StreamWindows:
    """``seconds`` long, a new one each ``slide``; rows may come ``late`` seconds after later ones. ``by`` are the
    fields that make a group, of which at most ``most`` are open. ``closed``: windows that end by then were given
    out."""

    seconds: float
    slide: float = 0.0
    late: float = 0.0
    by: tuple[str, ...] = ()
    aggregates: tuple[Aggregate, ...] = (Aggregate("count"),)
    most: int = 100_000
    closed: float = -math.inf
    newest: dict[int, float] = field(default_factory=dict)
    """By partition, the latest time that was seen."""
    waiting: frozenset[int] = frozenset()
    """Partitions that have rows which were not read yet: they hold the watermark, quiet ones do not."""
    open: dict[int, _Window] = field(default_factory=dict)
    _heard: dict[int, float] = field(default_factory=dict)
    _groups: int = 0

    def __post_init__(self) -> None:
        self.slide = self.slide or self.seconds
        if self.slide > self.seconds:
            raise InputError(
                f"a new window each {self.slide:g} s, each {self.seconds:g} s long: rows between them would be lost",
                remedy="give --slide at most --window",
            )

    @property
    def watermark(self) -> float:
        """No row is expected that is older: the latest time of the partition that is furthest behind, less what may
        come late. A partition that has been read to its end, and gave nothing for QUIET seconds, is not waited for."""
        if self.waiting - self.newest.keys():
            return -math.inf
        now = time.monotonic()
        heard = [at for one, at in self.newest.items() if one in self.waiting or now - self._heard[one] < QUIET]
        return (min(heard) if heard else max(self.newest.values(), default=-math.inf)) - self.late

    def add(self, row: Mapping[str, Any], at: float, partition: int = 0, offset: int = 0) -> Literal["kept", "late"]:
        """Count a row in its windows that are open. Raises InputError for a row without its fields, or too many
        groups."""
        numbers = {one.field: _number(row, one.field) for one in self.aggregates if one.field}
        group = tuple(_text(row, name) for name in self.by)
        last = math.floor(at / self.slide)
        found, limit = False, max(self.closed, self.watermark)
        for index in range(last, math.floor((at - self.seconds) / self.slide), -1):
            if index * self.slide + self.seconds <= limit:
                continue
            found = True
            window = self.open.setdefault(index, _Window())
            if group not in window.groups:
                if self._groups >= self.most:
                    raise InputError(
                        f"more than {self.most:,} groups are open",
                        remedy="group by a field with fewer values, or raise --groups",
                        code="too-many-groups",
                    )
                self._groups += 1
                window.groups[group] = _Sums()
            window.groups[group].add(numbers)
            window.first.setdefault(partition, offset)
        self._heard[partition] = time.monotonic()
        self.newest[partition] = max(at, self.newest.get(partition, -math.inf))
        return "kept" if found else "late"

    def close(self, *, all: bool = False, whole: bool = True) -> Iterator[ClosedWindow]:
        """The windows that the watermark has passed, oldest first; ``all``: every one. They are closed when the last
        was taken."""
        upto = math.inf if all else self.watermark
        for index in sorted(self.open):
            start = index * self.slide
            if start + self.seconds > upto:
                break
            window = self.open.pop(index)
            self._groups -= len(window.groups)
            for group, sums in sorted(window.groups.items()):
                values = {one.name: sums.value(one) for one in self.aggregates}
                yield ClosedWindow(start, start + self.seconds, group, values, whole)
            self.closed = max(self.closed, start + self.seconds)

    def first(self, partition: int) -> int | None:
        """The lowest offset of a partition that is still in an open window."""
        return min((one.first[partition] for one in self.open.values() if partition in one.first), default=None)


def _text(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        raise InputError(f"the row has no field {name!r}", remedy=f"it has: {', '.join(map(str, row))[:200]}")
    return spell(row[name])


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    try:
        if isinstance(value, bool) or value is None or not math.isfinite(float(value)):
            raise ValueError
        return float(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name} is {spell(value)[:60]!r}, expected a number", remedy="leave the row out") from None
