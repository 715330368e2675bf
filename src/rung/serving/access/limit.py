"""What a caller may use in a window of time, as people write it: ``5/day`` (US dollars), ``100000/minute`` (tokens or
requests)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rung.core.errors import InputError

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 30 * 86400, "total": 0}
UNITS = {"money": "US dollars", "tokens": "tokens", "requests": "requests"}

_AMOUNT = re.compile(r"\s*\$?\s*(\d[\d_,]*(?:\.\d+)?|\.\d+)\s*([kKmM]?)\s*(?:/\s*([a-z]+))?\s*")
_TIMES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w)?\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, slots=True)
class SpendingLimit:
    """``amount`` of ``unit`` in each ``period`` of seconds (0: ever)."""

    unit: str
    amount: float
    period: int

    def __str__(self) -> str:
        name = next(name for name, seconds in PERIODS.items() if seconds == self.period)
        return f"{self.amount:g}/{name}"


def read_limit(unit: str, text: str, period: str = "total") -> SpendingLimit:
    """A limit as it is written; ``period`` is meant where none is named. Raises InputError."""
    found = _AMOUNT.fullmatch(str(text))
    named = (found[3] or period) if found else ""
    if found is None or named not in PERIODS:
        raise InputError(
            f"got {text!r}, expected an amount and a period, in {UNITS[unit]}",
            remedy=f"write for instance 5/day; periods: {', '.join(PERIODS)}",
            code="limit",
        )
    amount = float(found[1].replace(",", "").replace("_", "")) * {"": 1, "k": 1e3, "m": 1e6}[found[2].lower()]
    if not 0 < amount < 1e15:
        raise InputError(f"got {text!r}, expected an amount above 0", remedy="write for instance 5/day", code="limit")
    return SpendingLimit(unit, amount, PERIODS[named])


def read_seconds(text: str | float) -> float:
    """A span of time: ``90d``, ``12h``, ``30`` (seconds). Raises InputError."""
    found = _TIMES.fullmatch(str(text))
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else math.nan
    if not 0 < seconds < 1e10:
        raise InputError(
            f"got {text!r}, expected a span of time", remedy="write for instance 30s, 10m, 12h or 90d", code="span"
        )
    return seconds
