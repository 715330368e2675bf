"""How much of what a question needs is still in the prompt when a long conversation must fit into a few tokens?"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rung.agents.memory.short import Keeping, shorten
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Score
from rung.ladder.view.numbers import difference, quality
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired
from rung.studies.study import Lab, Study, corrected

_WORD = re.compile(r"\w{4,}")


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A way of keeping within a budget of words: the share of the words (of four letters and more) of the turns that
    answer a question which is still there, over ``n`` questions; the paired difference from "recent" at the same
    budget."""

    words: int
    keep: str
    found: Interval
    n: int
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class WindowTable:
    """The rows, one for each budget and way."""

    rows: tuple[WindowRow, ...]


@dataclass(frozen=True)
class Windows(Study[None, WindowTable]):
    """What does each way of shortening a long conversation keep of what a question is about?"""

    name = "window"
    subject = "none"
    records = WindowTable

    source: str = argument("qmsum:FOLDER, meetings with questions and the turns that answer them.", "SOURCE")
    budgets: str = option("600,2400", "Words that may stay, separated by commas.")
    limit: int = option(1000, "At most this many questions.", low=2)

    async def measure(self, subject: None, lab: Lab) -> WindowTable:
        """Raises InputError for a folder that holds no such data, or budgets that are none."""
        budgets = [int(part) for part in self.budgets.split(",") if part.strip().isdigit()]
        if not budgets or len(budgets) != len(self.budgets.split(",")):
            raise InputError(f"got budgets {self.budgets!r}", remedy="write --budgets 600,2400")
        asked = _questions(self.source)[: self.limit]
        if len(asked) < 2:
            raise InputError(f"{self.source} holds fewer than 2 questions", remedy="give QMSum's folder")
        rows: list[WindowRow] = []
        for budget in budgets:
            first: list[Score] = []
            for keep in get_args(Keeping):
                scores = [Score(_share(turns, query, wanted, budget, keep)) for turns, query, wanted in asked]
                change = paired(VALUES, scores, first) if first else None
                rows.append(WindowRow(budget, keep, interval(VALUES, scores), len(asked), change))
                first = first or scores
                lab.progress(Progress("window", len(rows), 3 * len(budgets), keep))
        return WindowTable(tuple(corrected(rows)))

    def about(self, subject: None) -> str:
        return self.source.partition(":")[0]

    def table(self, found: WindowTable) -> str:
        lines = [["words", "keeps", "of the answer's words", "n", "against recent"]]
        lines += [
            [
                str(row.words),
                row.keep,
                quality(row.found),
                str(row.n),
                "" if row.difference is None else difference(row.difference),
            ]
            for row in found.rows
        ]
        return align(lines)


def _share(turns: Sequence[str], query: str, wanted: frozenset[str], budget: int, keep: Keeping) -> float:
    kept, lines = shorten(turns, budget, keep, query, lambda text: len(text.split()))
    there = {word for text in (*(turns[at] for at in kept), *lines) for word in _WORD.findall(text.lower())}
    return len(wanted & there) / len(wanted)


def _questions(source: str) -> list[tuple[list[str], str, frozenset[str]]]:
    """Turns of a meeting, a question, and the words of the turns that answer it."""
    kind, _, folder = source.partition(":")
    files = sorted(Path(folder).glob("*.jsonl.gz")) if kind == "qmsum" and folder else []
    if not files:
        raise InputError(f"got conversations of {source!r}", remedy="write qmsum:FOLDER, with val.jsonl.gz in it")
    out = []
    for line in gzip.decompress(files[0].read_bytes()).decode().splitlines():
        meeting: dict[str, Any] = json.loads(line)
        turns = [f"{turn['speaker']}: {turn['content']}" for turn in meeting["meeting_transcripts"]]
        for one in meeting["specific_query_list"]:
            spans = [(int(begin), int(end)) for begin, end in one["relevant_text_span"]]
            text = " ".join(turns[at] for begin, end in spans for at in range(begin, min(end + 1, len(turns))))
            if wanted := frozenset(_WORD.findall(text.lower())):
                out.append((turns, one["query"], wanted))
    return out
