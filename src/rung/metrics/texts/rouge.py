"""ROUGE-N, ROUGE-L and ROUGE-Lsum (Lin 2004), the same numbers as rouge-score 0.1.2, without its tables.

rouge-score knows the letters a to z and the digits alone: of two equal texts in Russian or Chinese it makes 0. Where
more than a tenth of the reference's letters are others, words are those of ``rung.foundations.text.words``: of any
script, and where it writes no spaces between words, its characters; where it has no words at all, its signs.

The longest common subsequence is found bit-parallel (Hyyrö 2004): one machine addition moves a whole row of the table,
a row being a Python integer. For Lsum the rows are kept, and one bit of them tells each step of the way back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Case, Score
from rung.foundations.text.stem import stem as stem_word
from rung.foundations.text.words import is_latin, visible, words
from rung.metrics.mean import Mean, references, shown

_WORDS = re.compile(r"[a-z0-9]+").findall


@dataclass(frozen=True, slots=True)
class Rouge:
    precision: float
    recall: float
    f1: float


Tokens = Callable[[str], list[str]]


def tokenize(text: str, stem: bool = False) -> list[str]:
    """rouge-score's tokens: runs of a-z and 0-9 of the text in lower case; words over 3 letters stemmed if asked."""
    found = _WORDS(text.lower())
    return [stem_word(word) if len(word) > 3 else word for word in found] if stem else found


def _tokens(reference: str, stem: bool) -> Tokens:
    """How the two texts are read: the reference decides."""
    if reference.isascii() or (is_latin(reference) and tokenize(reference)):
        return partial(tokenize, stem=stem)
    return words if words(reference) else _signs


def _signs(text: str) -> list[str]:
    return [sign for sign in text if not sign.isspace()]


def rouge(prediction: str, reference: str, kinds: Sequence[str], *, stem: bool = False) -> dict[str, Rouge]:
    """Score one pair; ``kinds`` are "1" to "9", "l" and "lsum" (sentences are lines)."""
    prediction, reference = visible(prediction), visible(reference)
    tokens = _tokens(reference, stem)
    got, wanted = tokens(prediction), tokens(reference)
    return {
        kind: _lsum(prediction, reference, tokens)
        if kind == "lsum"
        else _result(common_length(wanted, got), len(got), len(wanted))
        if kind == "l"
        else _grams(got, wanted, int(kind))
        for kind in kinds
    }


def _result(hits: int, given: int, expected: int) -> Rouge:
    if not hits:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = hits / given, hits / expected
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def _grams(got: list[str], wanted: list[str], n: int) -> Rouge:
    a: Counter[object]
    b: Counter[object]
    if n == 1:
        a, b = Counter(got), Counter(wanted)
    else:
        a = Counter(zip(*(got[i:] for i in range(n)), strict=False))
        b = Counter(zip(*(wanted[i:] for i in range(n)), strict=False))
    hits = 0
    for gram in a.keys() & b.keys():
        x, y = a[gram], b[gram]
        hits += x if x < y else y
    return _result(hits, len(got) - n + 1, len(wanted) - n + 1)


def _masks(tokens: list[str]) -> dict[str, int]:
    """For each token the set of its places, as bits."""
    masks: dict[str, int] = {}
    bit = 1
    for token in tokens:
        masks[token] = masks.get(token, 0) | bit
        bit <<= 1
    return masks


def common_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence."""
    masks = _masks(a)
    row = full = (1 << len(a)) - 1
    for token in b:
        if mask := masks.get(token):
            hit = row & mask
            row = (row + hit) | (row - hit)
    return (~row & full).bit_count()


def _common_places(a: list[str], b: list[str]) -> set[int]:
    """Places in ``a`` of the longest common subsequence that rouge-score's way back through its table finds."""
    masks = _masks(a)
    row = full = (1 << len(a)) - 1
    rows = []
    for token in b:
        if mask := masks.get(token):
            hit = row & mask
            row = ((row + hit) | (row - hit)) & full
        rows.append(row)
    places = set()
    i, j = len(a) - 1, len(b) - 1
    while i >= 0 and j >= 0:
        if a[i] == b[j]:
            places.add(i)
            i -= 1
            j -= 1
        elif rows[j] >> i & 1:
            i -= 1  # the table does not grow at i: the value above is at least the one to the left
        else:
            j -= 1
    return places


def _lsum(prediction: str, reference: str, tokens: Tokens) -> Rouge:
    got = [tokens(line) for line in prediction.split("\n") if line]
    wanted = [tokens(line) for line in reference.split("\n") if line]
    left_got = Counter(token for line in got for token in line)
    left_wanted = Counter(token for line in wanted for token in line)
    hits = 0
    for line in wanted:
        union: set[int] = set().union(*(_common_places(line, other) for other in got))
        for place in union:
            token = line[place]
            if left_got[token] > 0 and left_wanted[token] > 0:
                hits += 1
                left_got[token] -= 1
                left_wanted[token] -= 1
    return _result(hits, sum(map(len, got)), sum(map(len, wanted)))


class RougeMetric(Mean):
    """Mean F1 of one kind of ROUGE; of several references the best. ``rouge-l:stem`` stems words first."""

    def __init__(self, kind: str, stem: bool = False) -> None:
        self.kind = kind
        self.stem = stem
        self.name = f"rouge-{kind}" + (":stem" if stem else "")

    def grade(self, case: Case) -> Score:
        text = "" if case.output is None else str(case.output)
        best = max(
            (rouge(text, str(option), (self.kind,), stem=self.stem)[self.kind] for option in references(case)),
            key=lambda result: result.f1,
        )
        why = f"precision {best.precision:.2f}, recall {best.recall:.2f} of {shown(references(case)[0])}"
        return Score(best.f1, why, (best.precision, best.recall))


def _open(kind: str, argument: str) -> RougeMetric:
    if argument not in ("", "stem"):
        raise InputError(
            f"rouge-{kind} got {argument!r}, expected nothing or 'stem'", remedy=f"write rouge-{kind}:stem"
        )
    return RougeMetric(kind, argument == "stem")


def open_1(argument: str, resources: Resources) -> RougeMetric:
    return _open("1", argument)


def open_2(argument: str, resources: Resources) -> RougeMetric:
    return _open("2", argument)


def open_l(argument: str, resources: Resources) -> RougeMetric:
    return _open("l", argument)


def open_lsum(argument: str, resources: Resources) -> RougeMetric:
    return _open("lsum", argument)
