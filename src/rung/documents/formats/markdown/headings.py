"""The headings of a Markdown text (CommonMark 0.31, sections 4.2 to 4.6): ATX and underlined ones, not those inside
code."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARKS = re.compile(
    r"^ {0,3}(?:#{1,6}(?=[ \t\n]|\Z)|`{3,}|~{3,}|=+[ \t]*$|--+[ \t]*$|<!--|<(?:script|pre|style|textarea)\b)",
    re.MULTILINE | re.IGNORECASE,
)
_NO_PARAGRAPH = re.compile(r" {0,3}(?:>|\||[-+*][ \t]|\d{1,9}[.)][ \t]|#{1,6}[ \t]|```|~~~)|    |\t")
_LONGEST = 2000
"""Characters of a paragraph that may be a heading."""


def headings(text: str, *, underlined: bool = True) -> Iterator[tuple[int, int, str]]:
    """For each heading where its first line begins, its level (1 to 6) and its text. ``underlined``: also paragraphs
    over a line of ``=`` (level 1) or ``-`` (level 2). Takes time in proportion to the text."""
    fence, until, floor = "", 0, 0
    absent: set[str] = set()
    for found in _MARKS.finditer(text):
        start = found.start()
        if start < until:
            continue
        mark = found[0].lstrip(" ")
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)].strip()
        if fence:
            if mark[:1] == fence[0] and len(mark) >= len(fence) and not line.strip(fence[0]):
                fence, floor = "", start + len(line)
        elif mark[0] in "`~":
            if mark[0] == "~" or "`" not in line[len(mark) :]:
                fence = mark
        elif mark[0] == "<":
            closing = "-->" if mark == "<!--" else f"</{mark[1:].lower()}>"
            close = -1 if closing in absent else text.find(closing, start)
            if close >= 0:
                until = floor = close + len(closing)
            else:
                absent.add(closing)
        elif mark[0] == "#":
            floor = start + len(line)
            yield start, len(mark), _closed(line[len(mark) :].strip())
        elif underlined and text[start : start + 4].rstrip("\n") != "-- " and (above := _paragraph(text, start, floor)):
            floor = start + len(line)
            yield above[0], 1 if mark[0] == "=" else 2, above[1]


def _closed(title: str) -> str:
    """A title without closing marks: they count behind a space only, so that ``# C#`` is C#."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


def _paragraph(text: str, end: int, floor: int) -> tuple[int, str] | None:
    """Where the paragraph that ends at ``end`` begins, and its text in one line; None where there is none."""
    lines: list[str] = []
    start = end
    while start > floor:
        begin = text.rfind("\n", max(0, start - 1 - _LONGEST), start - 1) + 1
        line = text[begin : start - 1]
        if not line.strip() or begin < floor:
            break
        if len(line) >= _LONGEST or end - begin > _LONGEST or _NO_PARAGRAPH.match(line):
            return None
        lines.append(line.strip())
        start = begin
    return (start, " ".join(reversed(lines))) if lines else None
