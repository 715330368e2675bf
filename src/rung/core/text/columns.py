"""Plain text in columns: how a terminal shows rows. A figure is never cut: what is too wide goes below, or is
wrapped."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

PROSE = 44
"""A column with a cell longer than this holds sentences, which may be wrapped; others hold figures and names."""
LEAST = 24
"""Characters that a column of sentences gets at least."""
GAP = 2


def align(rows: Sequence[Sequence[str]], right: int | None = None, width: int | None = None) -> str:
    """Lines whose cells stand under one another, two spaces apart; from column ``right`` on they end together.

    Where they do not fit into ``width`` (None: the terminal's, 80 in a file) the columns that are too many follow
    below, each block of them beginning with the first column again, and sentences are wrapped. Empty without rows.
    """
    if not rows:
        return ""
    room = width or shutil.get_terminal_size((80, 24)).columns
    columns = [list(column) for column in zip(*rows, strict=True)]
    widths = [max(map(_width, column)) for column in columns]
    if sum(widths) + GAP * (len(widths) - 1) <= room:
        return "\n".join(_lines(columns, widths, right, range(len(columns))))
    widths[0] = min(widths[0], max(room // 2, LEAST))
    blocks = _blocks(widths, room)
    return "\n\n".join("\n".join(_lines(columns, widths, right, (0, *block))) for block in blocks)


def records(rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The rows of a table by the names in its first row, for JSON."""
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def fold(text: str) -> str:
    """The text with its sentences wrapped at the terminal's width, 80 in a file; lines of columns stay as they are."""
    room = shutil.get_terminal_size((80, 24)).columns
    lines = (
        [line]
        if _width(line) <= room or " " * GAP in line.strip()
        else textwrap.wrap(line, room, break_long_words=False)
        for line in text.split("\n")
    )
    return "\n".join(part for one in lines for part in one)


def _blocks(widths: list[int], room: int) -> list[list[int]]:
    """Columns after the first, in groups that stand beside it; ``widths`` of those that must be wrapped are
    lessened."""
    room = max(room - widths[0], LEAST)
    blocks: list[list[int]] = [[]]
    left = room
    for at, width in enumerate(widths[1:], 1):
        least = min(width, LEAST) if width > PROSE else min(width, room - GAP)
        if least + GAP > left and blocks[-1]:
            blocks.append([])
            left = room
        widths[at] = max(1, min(width, left - GAP))
        blocks[-1].append(at)
        left -= widths[at] + GAP
    return blocks


def _lines(
    columns: Sequence[Sequence[str]], widths: Sequence[int], right: int | None, chosen: Sequence[int]
) -> list[str]:
    lines = []
    for row in range(len(columns[0])):
        cells = [_wrapped(columns[at][row], widths[at]) for at in chosen]
        for line in range(max(map(len, cells))):
            parts = []
            for at, cell in zip(chosen, cells, strict=True):
                text = cell[line] if line < len(cell) else ""
                pad = " " * (widths[at] - _width(text))
                parts.append(text + pad if right is None or at < right else pad + text)
            lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return [text] if _width(text) <= width else textwrap.wrap(text, width) or [""]


def _width(text: str) -> int:
    """Columns that a terminal gives the text: two for wide scripts, none for marks that combine."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
