"""Pictures as inline SVG: bars and histograms that a browser or an e-mail shows without anything else."""

from __future__ import annotations

import html
from collections.abc import Sequence

WIDTH, BAR, LABEL = 640, 20, 190


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def bars(title: str, items: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars, one a name, with their values."""
    most = max((value for _, value in items), default=0) or 1
    room = WIDTH - LABEL - 70
    rows = []
    for place, (name, value) in enumerate(items):
        y = 30 + place * BAR
        shown = name if len(name) <= 28 else f"{name[:27]}…"
        rows.append(
            f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end"><title>{_safe(name)}</title>{_safe(shown)}</text>'
            f'<rect x="{LABEL}" y="{y + 3}" width="{max(value / most * room, 1):.1f}" height="{BAR - 6}"/>'
            f'<text x="{LABEL + value / most * room + 6:.1f}" y="{y + 14}">{_number(value)}</text>'
        )
    return _frame(title, 36 + len(items) * BAR, "".join(rows))


def histogram(title: str, values: Sequence[float], unit: str, *, bins: int = 30) -> str:
    """How many values lie where; the median and the longest are named."""
    import numpy as np

    data = np.asarray(values, np.float64)
    if not len(data):
        return _frame(title, 60, f'<text x="8" y="48">no {_safe(unit)}</text>')
    counts, edges = np.histogram(data, bins=min(bins, max(1, len(np.unique(data)))))
    most, height, left = int(counts.max()) or 1, 140, 50
    step = (WIDTH - left - 20) / len(counts)
    rows = []
    for place, count in enumerate(counts.tolist()):
        tall = count / most * height
        rows.append(
            f'<rect x="{left + place * step:.1f}" y="{30 + height - tall:.1f}" width="{max(step - 1, 0.5):.1f}" height="{tall:.1f}">'
            f"<title>{_number(edges[place])} to {_number(edges[place + 1])} {_safe(unit)}: {count:,}</title></rect>"
        )
    floor = 30 + height
    rows.append(f'<line x1="{left}" y1="{floor}" x2="{WIDTH - 20}" y2="{floor}" stroke="currentColor"/>')
    rows.append(f'<text x="{left - 6}" y="42" text-anchor="end">{most:,}</text>')
    for at, value in ((left, edges[0]), (WIDTH - 20, edges[-1])):
        rows.append(f'<text x="{at}" y="{floor + 16}" text-anchor="middle">{_number(round(value))}</text>')
    said = f"median {_number(round(float(np.median(data))))}, 95% up to {_number(round(float(np.percentile(data, 95))))} {unit}"
    rows.append(f'<text x="{(left + WIDTH) / 2:.0f}" y="{floor + 16}" text-anchor="middle">{_safe(said)}</text>')
    return _frame(title, floor + 24, "".join(rows))


def _frame(title: str, height: int, inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{_safe(title)}"><style>rect{{fill:#4878a8}}text{{font:12px sans-serif;fill:currentColor}}</style>'
        f'<text x="0" y="16" style="font-weight:bold">{_safe(title)}</text>{inside}</svg>'
    )


def _safe(text: str) -> str:
    # Signs that XML has no place for would make the whole picture unreadable.
    return html.escape("".join(sign if sign.isprintable() else " " for sign in text))
