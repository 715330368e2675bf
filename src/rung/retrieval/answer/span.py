"""Short answers copied out of the passages.

A small model says in a sentence what was asked for in a word. So it writes first; the answer is then the phrase of the
passages that its sentence says and the question does not: names, numbers and runs of meaningful words from the
sentences nearest to the question are the candidates. What is answered stands in a passage, character for character,
whatever the model made up around it. Measured on XQuAD with the embedded model: see docs/results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.types import Hit, Span
from rung.foundations.text.sentences import sentences
from rung.metrics.texts.grounding import words

LONGEST = 10
"""Words of a candidate at most."""
JOINED = 3
"""Runs of meaningful words that are joined over small words between them (Bank of the Danube)."""
_TOKEN = re.compile(r"[\w$€£%°+][\w$€£%°'’.,/+–-]*(?<![.,'’/–-])|[^\w\s]")
_RUN = re.compile(
    r"(?:[A-Z][\w'’-]*|[$€£]?\d(?:[\d.,–-]*\d)?%?)"
    r"(?:\s+(?:(?:of|the|de|du|von|van|and|for)\s+){0,2}(?:[A-Z][\w'’-]*|\d(?:[\d.,–-]*\d)?%?))*"
)
_SMALL = frozenset(
    """a about above after again all also although am an and any are as at be because been before being between both but by can
    could did do does doing down during each few for from further had has have having he her here hers herself him himself his
    how i if in into is it its itself just me more most my no nor not of off on once only or other our out over own same she
    should so some such than that the their them then there these they this those through to too under until up very was we
    were what when where which while who whom whose why will with would you your""".split()  # noqa: SIM905
)
_NUMERIC = re.compile(
    r"\bwhen\b|\b(?:what|which)\s+(?:year|date|day|century|decade|percent\w*|number|age)\b|\bhow\s+(?:many|much|long|old|far|big|"
    r"large|tall|high|often|fast)\b|\bpercent",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\bwho\b|\bwhom\b|\bwhose\b|\bwhere\b|\bname\b|\b(?:what|which)\s+(?:city|country|person|team|company|river|state|university|"
    r"king|queen|president|organi[sz]ation|town|region|place|church)\b",
    re.IGNORECASE,
)
_CODED = re.compile(
    r"\b(?:function|method|class|exception|error|module|argument|parameter|constant|attribute|flag|option|command|decorator|"
    r"variable|keyword|builtin|built-in)\b",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(
    r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z]\w*_\w+|_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*|--?[a-z][\w-]*"
)
_TITLE = re.compile(r"(\S[^\n]{0,100})\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words of the passage at place ``hit`` in the list shown. ``near``: the share of the question's words in their
    sentence."""

    text: str
    hit: int
    span: Span
    near: float = 0.0


def copy(question: str, reply: str, hits: Sequence[Hit]) -> Phrase | None:
    """The phrase of ``hits`` that ``reply`` answers ``question`` with; None where the passages have no phrase at all.

    Best is the phrase whose words are the reply's own (not the question's), whose kind (a number, a name) is the one
    that the question asks for, and whose sentence has most of the question's words; the first of equals. The weights
    were chosen on 60 questions of XQuAD that no published figure is measured on.
    """
    asked, said = words(question), words(reply)
    new = said - asked
    best: tuple[float, Phrase] | None = None
    for item in candidates(question, hits):
        own = words(item.text)
        fresh = own - asked
        common = len(fresh & new)
        score = 0.5 * common / len(fresh) + 0.4 * common / max(1, len(new)) if fresh else 0.0
        score += 0.6 * _kind(question, item.text) + 2.0 * item.near - 0.1 * len(own & asked) / len(own)
        if best is None or score > best[0]:
            best = (score, item)
    return best[1] if best is not None else None


def _kind(question: str, text: str) -> float:
    number = any(mark.isdigit() for mark in text)
    if _CODED.search(question):
        return float(_IDENTIFIER.fullmatch(text) is not None)
    if _NUMERIC.search(question):
        return float(number)
    if _NAMED.search(question):
        return float(not number and any(mark.isupper() for mark in text))
    return 0.0 if number else 0.5


def candidates(question: str, hits: Sequence[Hit], *, read: int = 6, limit: int = 96) -> list[Phrase]:
    """Phrases of the ``read`` sentences of ``hits`` that are nearest to the question, each text once, at most
    ``limit``. Words of the question alone are no answer to it."""
    asked = words(question)
    pool: list[tuple[float, int, int, Span, float]] = []
    for at, hit in enumerate(hits):
        text = hit.passage.text
        title = _TITLE.match(text) if hit.passage.start == 0 else None
        for place, span in enumerate(sentences(text)):
            if title is not None and span.end <= title.end(1):
                # What a document is called is told by its title; what it is about by the rest.
                common = len(asked & words(text)) / max(1, len(asked))
                pool.append((0.05 * at - common, at, place, span, common))
                continue
            common = len(asked & words(text[span.start : span.end])) / max(1, len(asked))
            pool.append((0.05 * at - common, at, place, span, common))
    pool.sort(key=lambda item: item[:3])
    out: dict[str, Phrase] = {}
    for _, at, _, span, common in pool[:read]:
        text = hits[at].passage.text
        for piece in _phrases(text, span):
            body = text[piece.start : piece.end]
            if len(body.split()) <= LONGEST and not words(body) <= asked:
                out.setdefault(" ".join(body.split()), Phrase(body, at, piece, common))
    return list(out.values())[:limit]


def _phrases(text: str, sentence: Span) -> list[Span]:
    """Runs between small words and punctuation, neighbours joined; names and numbers inside them; the last word
    alone."""
    runs: list[list[Span]] = []
    borders: set[int] = set()  # runs that none before them is joined with
    fresh = True
    for token in _TOKEN.finditer(text, sentence.start, sentence.end):
        word = re.match(r"[\w$€£+]", token[0]) is not None
        if word and token[0].casefold() not in _SMALL:
            if fresh:
                runs.append([])
                fresh = False
            runs[-1].append(Span(token.start(), token.end()))
            continue
        fresh = True
        if not word and token[0] in ';:!?()[]"“”':
            borders.add(len(runs))
    chunks = [Span(run[0].start, run[-1].end) for run in runs]
    out: list[Span] = []
    for first, chunk in enumerate(chunks):
        for last in range(first, min(first + JOINED, len(chunks))):
            if last > first and last in borders:
                break
            out.append(Span(chunk.start, chunks[last].end))
        run = runs[first]
        if len(run) > 1:
            out += [run[-1], Span(run[1].start, chunk.end)]
    return [*out, *(Span(found.start(), found.end()) for found in _RUN.finditer(text, sentence.start, sentence.end))]
