"""Where sentences begin and end, and how long a text is in words: what chunkers count with and claims are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rung.core.types import Span

WORD = 32
"""Characters of a word at most: a longer run without spaces (a key, a 200 MB line) counts, and is cut, as several."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_UNIT = re.compile(rf"[{_CJK}]|[^\s{_CJK}]{{1,{WORD}}}")
_END = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)(?![ \t]{1,4}[a-z])|[。！？]+[」』”’]*|\n[ \t]*\n\s*|\n(?=[ \t]*(?:(?:[-*•]|\d+[.)]|#{1,6})\s|\|))|\Z"
)
_ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|No|Nos|Fig|Figs|Eq|Sec|Ch|Vol|pp|cf|al|ca|approx|Inc|Ltd|Co|Gen|Col|Rev|"
    r"e\.g|i\.e|a\.m|p\.m|U\.S)|\b[A-Z])\.$|(?:^|\n)\s*\d{1,3}\.$"
)


def each_unit(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """The (start, end) of each word of ``text[start:end]``: a run without spaces of up to WORD characters; a Chinese,
    Japanese or Korean character is a word of its own."""
    return (found.span() for found in _UNIT.finditer(text, start, len(text) if end is None else end))


def weigh(text: str) -> int:
    """How many words a text has, quickly: exact save for ASCII runs longer than WORD, which are counted by their
    length."""
    if text.isascii():
        return max(len(text.split()), len(text) // WORD)
    return len(_UNIT.findall(text))


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """The sentences of ``text[start:end]`` in order, without the spaces around them. They end at a full stop, question
    or exclamation mark before a space, at an empty line and before a list's next item, a table's next row or a heading;
    not behind an abbreviation or before a small letter."""
    stop = len(text) if end is None else end
    begin = start
    for found in _END.finditer(text, start, stop):
        close = found.end()
        if found[0].startswith(".") and _ABBREVIATED.search(text[max(begin, close - 12) : close]):
            continue
        span = trim(text, begin, close)
        if span is not None:
            yield span
        begin = close
    span = trim(text, begin, stop)
    if span is not None:
        yield span


def lines(text: str) -> Iterator[Span]:
    """The sentences that have a letter or digit, where every line break ends one: of answers, lists and verse."""
    for line in re.finditer(r"[^\n]+", text):
        for span in sentences(text, *line.span()):
            if _WORDED.search(text, span.start, span.end):
                yield span


def count_sentences(text: str) -> int:
    """Sentences of an English text that is taken as one run of words: every full stop, exclamation or question mark
    before a space ends one, also before a small letter, but for those of abbreviations; line breaks end none. What has
    no word is none."""
    count, begin, stop = 0, 0, len(text.rstrip())
    for end in _STOP.finditer(text, 0, stop):
        close = end.end()
        if end[0] == "." and close < stop and _ABBREVIATED.search(text[max(begin, close - 12) : close]):
            continue
        count += _WORDED.search(text, begin, close) is not None
        begin = close
    return count + (_WORDED.search(text, begin) is not None)


_STOP = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]*]*+(?=\s|\Z)")
_WORDED = re.compile(r"\w")
_LEAD = re.compile(r"\s*")


def trim(text: str, start: int, end: int) -> Span | None:
    """The span without spaces at its ends; None when nothing else is in it."""
    found = _LEAD.match(text, start, end)
    if found is not None:
        start = found.end()
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end) if end > start else None
