"""Kinds of rows made to count alike: how many of each are drawn, and which whole kinds are held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rung.core.errors import InputError
from rung.data.rows.records import Record
from rung.data.split.kinds import kind
from rung.data.split.profile import assign, evenness
from rung.tasks.split import rank

GOAL = 0.9
"""The evenness that is drawn for where nobody says how many rows of a kind there may be."""
KEEP = 0.5
"""The share of rows that is left whatever the evenness: a few rare kinds must not cost all the others."""
NONE = ("", "other")
"""Names of rows that are of no kind."""


def sort(records: Sequence[Record], by: str) -> list[str]:
    """The group of each row: ``kind`` (of instruction, by rules), ``label`` (its answer), ``cluster`` (k-means over
    words), or the value of a key that the rows came with (``category``). Raises InputError for a key that no row
    has."""
    if by == "kind":
        return [kind(record.question or record.text) for record in records]
    if by == "label":
        return [record.answer for record in records]
    if by == "cluster":
        return assign([record.question or record.text for record in records])
    found = [str(record.extra.get(by, record.source.get(by, ""))) for record in records]
    if not any(found):
        keys = sorted({key for record in records for key in (*record.extra, *record.source)})
        raise InputError(
            f"no row has {by!r}", remedy=f"expected kind, label, cluster, or one of: {', '.join(keys) or 'no key'}"
        )
    return found


def cap(counts: Mapping[str, int], goal: float = GOAL, keep: float = KEEP) -> int:
    """The largest number of rows of a group at which the groups' evenness is at least ``goal`` (0 to 1), or the
    smallest that leaves a share ``keep`` of the rows where that one would not."""
    total = sum(counts.values())
    low, high = 1, max(counts.values(), default=1)
    while low < high:  # a lower cap is never less even
        middle = (low + high + 1) // 2
        even = evenness([min(n, middle) for n in counts.values()])
        if even is None or even >= goal:
            low = middle
        else:
            high = middle - 1
    while sum(min(n, low) for n in counts.values()) < keep * total:
        low += 1
    return low


def thin(records: Sequence[Record], groups: Sequence[str], most: int, seed: int = 0) -> list[bool]:
    """Which rows stay when a group has at most ``most``: the first by the hash of their content, so that the same
    rows stay."""
    taken: Counter[str] = Counter()
    keep = [False] * len(records)
    for place in sorted(range(len(records)), key=lambda at: (rank(seed, records[at].content), at)):
        keep[place] = taken[groups[place]] < most
        taken[groups[place]] += keep[place]
    return keep


def choose(counts: Mapping[str, int], share: float, seed: int = 0) -> tuple[str, ...]:
    """Whole kinds that hold about ``share`` of the rows, drawn by hash; at least one, never all. Raises InputError
    where there are fewer than two."""
    kinds = sorted((name for name in counts if name not in NONE), key=lambda name: rank(seed, name))
    if len(kinds) < 2:
        raise InputError(
            f"there {'is one kind' if kinds else 'are no kinds'} of rows: {', '.join(kinds) or 'none'}",
            remedy="name what tells them apart: --kinds KEY, or leave --hold-kinds out",
        )
    wanted, total = share * sum(counts.values()), 0
    held: list[str] = []
    for name in kinds:
        if abs(total + counts[name] - wanted) < abs(total - wanted) and len(held) < len(kinds) - 1:
            held.append(name)
            total += counts[name]
    return tuple(sorted(held or [min(kinds, key=lambda name: (counts[name], name))]))
