"""Code that fills a hole: is it the missing text, and how far is it from it?"""

from __future__ import annotations

import re
from typing import Any

from rung.core.types import Case, Score
from rung.metrics.mean import Mean, references, shown

_FENCE = re.compile(r"^```[\w+-]*\n|\n?```\s*$")


def _lines(value: Any, count: int) -> str:
    """The first ``count`` lines of an answer, without a code fence around it and spaces at the ends of lines: a model that goes on
    behind the hole is judged by what it put into the hole, as in RepoBench (Liu et al. 2023)."""
    text = _FENCE.sub("", str("" if value is None else value).strip())
    return "\n".join(line.rstrip() for line in text.strip().split("\n")[:count])


def distance(a: str, b: str) -> int:
    """Levenshtein distance: the fewest characters put in, taken out or exchanged. O(len(a) * len(b))."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, two in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != two))
    return row[-1]


class EditSimilarity(Mean):
    """1 - Levenshtein distance / length of the longer one, of the answer's first lines (as many as the reference has)."""

    name = "edit-similarity"

    def grade(self, case: Case) -> Score:
        best, wanted = max(
            ((self._similarity(case.output, str(option)), str(option)) for option in references(case)),
            key=lambda pair: pair[0],
        )
        return Score(best, f"similarity {best:.2f}: expected {shown(wanted)}, got {shown(case.output)}")

    @staticmethod
    def _similarity(output: Any, wanted: str) -> float:
        wanted = "\n".join(line.rstrip() for line in wanted.strip().split("\n"))
        # What is far longer than the hole is wrong whatever stands at its end; the table would only grow.
        got = _lines(output, wanted.count("\n") + 1)[: 10 * len(wanted) + 200]
        longest = max(len(got), len(wanted))
        return 1 - distance(got, wanted) / longest if longest else 1.0


class CodeExact(Mean):
    """1 when the answer's first lines are the missing text, letter by letter but for spaces at the ends of lines, else 0."""

    name = "code-exact"

    def grade(self, case: Case) -> Score:
        for option in references(case):
            wanted = "\n".join(line.rstrip() for line in str(option).strip().split("\n"))
            if _lines(case.output, wanted.count("\n") + 1) == wanted:
                return Score(1.0, f"{shown(wanted)} as expected")
        return Score(0.0, f"expected {shown(references(case)[0])}, got {shown(case.output)}")


EDIT_SIMILARITY = EditSimilarity()
CODE_EXACT = CodeExact()
