"""Citations: each claim of an answer with the exact characters of the document that say it.

A model's own mark ([2]) is only a suggestion: what is cited is found by aligning the claim with the passages it was
shown, so a quote cannot be made up, and a mark that leads to a passage which does not say it is put right or dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rung.core.types import Hit, Span
from rung.foundations.text.sentences import sentences
from rung.metrics.texts.grounding import MARK, OPEN, SUPPORTED, support

_WORDS = re.compile(r"[^\W_]+")
_STOP = re.compile(r"[.!?]+")


@dataclass(frozen=True, slots=True)
class Citation:
    """``quote`` is the text of ``document`` from character ``start`` up to, not including, ``end``; it lies in
    ``passage``. ``support`` says how far it holds the claim (see rung.metrics.texts.grounding)."""

    mark: int
    passage: str
    document: str
    start: int
    end: int
    quote: str
    support: float = 1.0

    def holds(self, text: str) -> bool:
        """Whether the quote is where it says in the document's ``text``."""
        return text[self.start : self.end] == self.quote


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the answer and the marks of its citations; none where nothing shown supports it. ``note`` says
    what became of a mark that the model wrote."""

    text: str
    marks: tuple[int, ...] = ()
    support: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer's claims and citations. ``text`` is the answer with marks behind its claims."""

    text: str
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()

    def kept(self) -> Cited:
        """Without the claims that nothing supports."""
        held = tuple(claim for claim in self.claims if claim.marks)
        text = " ".join(_with(claim.text, claim.marks) for claim in held)
        return Cited(text, held, self.citations)

    @property
    def support(self) -> float:
        """The least supported claim's support; 0 without a claim."""
        return min((claim.support for claim in self.claims), default=0.0)


def cite(answer: str, hits: Sequence[Hit]) -> Cited:
    """The claims of ``answer`` with what supports them among ``hits``, in whose order the model's marks count from 1.

    A claim is cited to the passage that the model named where that supports it, else to the passage that supports it
    best; and not at all where none does.
    """
    citations: list[Citation] = []
    claims: list[Claim] = []
    out: list[str] = []
    for body, named in _parts(answer):
        text = body.strip()
        if not _WORDS.search(text):
            out.append(body)
            continue
        found = [(hit, *align(text, hit.passage.text)) for hit in hits]
        order = sorted(range(len(found)), key=lambda at: (-found[at][2], at))
        chosen = next((at - 1 for at in named if 0 < at <= len(hits) and found[at - 1][2] >= SUPPORTED), None)
        note = ""
        if chosen is None and order and found[order[0]][2] >= SUPPORTED:
            chosen = order[0]
            if named:
                note = f"the model named [{named[0]}], which does not say it"
        elif chosen is None and named:
            note = f"the model named [{named[0]}]; no passage says it"
        best = found[order[0]][2] if order else 0.0
        if chosen is None:
            claims.append(Claim(text, (), best, note))
            out.append(body)
            continue
        hit, span, score = found[chosen]
        mark = _mark(citations, hit, span, score)
        claims.append(Claim(text, (mark,), score, note))
        out.append(_with(body, (mark,)))
    return Cited("".join(out).strip(), tuple(claims), tuple(citations))


def _with(body: str, marks: Sequence[int]) -> str:
    """A sentence with its marks before the full stop."""
    bare = body.rstrip()
    core = bare.rstrip(".!?")
    return f"{core} {''.join(f'[{mark}]' for mark in marks)}{bare[len(core) :]}{body[len(bare) :]}"


def _mark(citations: list[Citation], hit: Hit, span: Span, score: float) -> int:
    """The number of the citation of this span; a new one where it is not cited yet."""
    passage = hit.passage
    start, end = passage.start + span.start, passage.start + span.end
    for known in citations:
        if (known.passage, known.start, known.end) == (passage.id, start, end):
            return known.mark
    quote = passage.text[span.start : span.end]
    citations.append(Citation(len(citations) + 1, passage.id, passage.document, start, end, quote, round(score, 3)))
    return len(citations)


def _parts(answer: str) -> list[tuple[str, list[int]]]:
    """Sentences with the marks behind them; a sentence's own spaces stay, so that the parts joined are the answer."""
    out: list[tuple[str, list[int]]] = []
    at = 0
    for found in MARK.finditer(answer):
        pieces = _split(answer[at : found.start()])
        out += [(piece, []) for piece in pieces[:-1]]
        numbers = [int(number) for number in re.findall(r"\d+", found[1])]
        if pieces:
            out.append((pieces[-1], numbers))
        elif out:
            out[-1] = (out[-1][0], [*out[-1][1], *numbers])
        at = found.end()
        if out and (stop := _STOP.match(answer, at)) is not None:  # "... in 1995 [1]." keeps its full stop
            out[-1] = (out[-1][0] + stop[0], out[-1][1])
            at = stop.end()
    return out + [(piece, []) for piece in _split(answer[at:])]


def _split(text: str) -> list[str]:
    spans = list(sentences(text))
    if not spans:
        return [text] if text else []
    starts = [0, *(span.start for span in spans[1:]), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def align(claim: str, text: str) -> tuple[Span, float]:
    """The sentence of ``text`` (or two neighbours) that says ``claim``, and how far it supports it (0 to 1): the one
    where the same words stand, else the one with most of the claim's words, numbers and names."""
    if (exact := locate(claim, text)) is not None:
        # Words without what they belong to prove little: the sentence that they stand in is quoted with them.
        whole = [span for span in sentences(text, 0, len(text)) if span.end > exact.start and span.start < exact.end]
        return Span(min(exact.start, whole[0].start), max(exact.end, whole[-1].end)) if whole else exact, 1.0
    spans = list(sentences(text))
    best, score = Span(0, len(text)), 0.0
    # Two neighbours have to be clearly better than any sentence alone.
    pairs = [Span(one.start, two.end) for one, two in pairwise(spans)]
    for margin, group in ((0.0, spans), (0.05, pairs)):
        for span in group:
            found = support(claim, text[span.start : span.end])
            if found > score + margin:
                best, score = span, found
    if score < OPEN and support(claim, text) >= SUPPORTED:
        return Span(0, len(text)), support(claim, text)
    return best, score


def locate(words: str, text: str) -> Span | None:
    """Where the same words stand in ``text``, whatever the spaces, capitals and punctuation between and around them."""
    found = _WORDS.findall(words)
    if not found:
        return None
    pattern = r"(?<![^\W_])" + r"[\W_]{1,3}".join(map(re.escape, found[:200])) + r"(?![^\W_])"
    match = re.search(pattern, text, re.IGNORECASE)
    return Span(match.start(), match.end()) if match else None
