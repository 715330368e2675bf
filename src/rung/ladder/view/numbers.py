"""How figures are written: one way for every sentence, table and page."""

from __future__ import annotations

import math

from rung.core.types import Interval
from rung.ladder.records import Online, RungRecord, verdict
from rung.metrics.stats import Difference

MARKS = {"done": "", "stopped": "stopped early", "skipped": "skipped", "failed": "failed", "budget": "budget spent"}
ENOUGH = 20
"""Latencies from which a 95th percentile is one: of fewer it is their largest."""


def quality(interval: Interval | None) -> str:
    """``0.834 [0.78, 0.88]``"""
    return "" if interval is None else f"{interval.value:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def difference(change: Difference | None) -> str:
    """``+0.05 [+0.01, +0.09] p 0.004``, or the same figures with "no difference"."""
    if change is None:
        return "–"
    figures = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
    shown = verdict(change) != "no difference"
    return f"{figures} p {pvalue(change.p)}" if shown else f"{figures} {said(change)}"


def exact(interval: Interval) -> str:
    """``0.834 [0.781, 0.884]``"""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def change(difference: Difference) -> str:
    """``+0.050 [+0.011, +0.092]``"""
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def said(difference: Difference, word: str = "") -> str:
    """``better, p 0.004`` (or another ``word`` for it), or "no difference": with its corrected p where the interval by
    itself would have it otherwise."""
    word = word or verdict(difference)
    if word != "no difference":
        return f"{word}, p {pvalue(difference.p)}"
    return word if difference.low <= 0 <= difference.high else f"{word} (corrected p {pvalue(difference.p)})"


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar."""
    return "█" * round(width * min(max(share, 0.0), 1.0))


def pvalue(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Wall time in the unit that reads best."""
    if value is None:
        return "–"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
    if value < 90:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 90 else f"{minutes / 60:.1f} h"


def money(value: float) -> str:
    """US dollars with three significant digits."""
    return "$0" if value == 0 else f"${_plain(value, 3)}" if value < 100 else f"${value:,.0f}"


def _plain(value: float, digits: int) -> str:
    """So many significant digits, without an exponent."""
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{round(value, places):.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def cost(value: float, noise: float = 0.0) -> str:
    """US dollars; of a cost that was measured with noise two digits, and by how much of it another run may differ."""
    return f"${_plain(value, 2)} ±{noise / value:.0%}" if noise and value else money(value)


def p95(online: Online) -> str:
    """The 95th percentile of the latencies; of too few of them the largest, which is said."""
    if online.alone >= ENOUGH or online.p95 is None:
        return seconds(online.p95)
    return f"{seconds(online.p95)} (max of {online.alone})"


def note(record: RungRecord) -> str:
    """What is special about a rung: why it has no figures, where it stopped, what failed."""
    if not record.scored:
        reason = record.reason.splitlines()[0] if record.reason else ""
        return f"{MARKS[record.status]}: {reason}" if reason else MARKS[record.status]
    parts = [f"{MARKS[record.status]} at {record.n}/{record.planned}"] if record.status != "done" else []
    parts += [f"{n} {where} failures" for where, n in record.failures.items() if where != "model"]
    if record.unanswered:
        parts.append(f"{record.unanswered} of {record.n} calls failed and count for nothing: {record.said}")
    return ", ".join(parts)
