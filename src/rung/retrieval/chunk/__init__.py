"""Chunkers: a document into passages, each of which is exactly the document's text from its start to its end.

All count in words (see ``sentences.each_unit``): about 1.3 tokens each in English, and counted ten times as fast. The
same document gives the same passages; a passage's id is the document's with its span.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from rung.core.errors import InputError
from rung.core.types import Document, Passage, Span
from rung.foundations.text.sentences import each_unit, sentences, trim, weigh
from rung.retrieval.chunk.outline import Heading, outline

if TYPE_CHECKING:
    from rung.core.protocols import Embedder

DEFAULT = "recursive:200:0"
"""The chunker that is used where none is named."""


class Chunker(Protocol):
    """Cuts documents. ``str(chunker)`` is its text form, which ``chunker()`` reads back."""

    def split(self, document: Document) -> list[Passage]: ...


@dataclass(frozen=True, slots=True)
class FixedChunker:
    """Windows of ``tokens`` words, each beginning ``tokens - overlap`` words after the one before."""

    tokens: int = 200
    overlap: int = 0

    def __post_init__(self) -> None:
        _check("fixed", self.tokens, self.overlap)

    def __str__(self) -> str:
        return f"fixed:{self.tokens}:{self.overlap}"

    def split(self, document: Document) -> list[Passage]:
        return _passages(document, _windows(document.text, 0, len(document.text), self.tokens, self.overlap))


@dataclass(frozen=True, slots=True)
class SentenceChunker:
    """As many whole sentences as fit in ``limit`` words; the next passage begins with the last ones of up to
    ``overlap`` words. A sentence longer than that is cut like Fixed cuts."""

    limit: int = 200
    overlap: int = 0

    def __post_init__(self) -> None:
        _check("sentences", self.limit, self.overlap)

    def __str__(self) -> str:
        return f"sentences:{self.limit}:{self.overlap}"

    def split(self, document: Document) -> list[Passage]:
        pieces = _pieces(document.text, 0, len(document.text), self.limit)
        return _passages(document, _packed(pieces, self.limit, self.overlap))


@dataclass(frozen=True, slots=True)
class RecursiveChunker:
    """By structure: sections (Markdown headings, Python's classes and functions), then paragraphs and fenced code, then
    sentences (code: lines), then words; what fits into ``limit`` words stays whole.

    A new section begins a new passage once the one before has a quarter of the limit. ``overlap`` words at most are
    repeated between passages of one section. The metadata has ``heading``: the path of headings that the passage begins
    under.
    """

    limit: int = 200
    overlap: int = 0

    def __post_init__(self) -> None:
        _check("recursive", self.limit, self.overlap)

    def __str__(self) -> str:
        return f"recursive:{self.limit}:{self.overlap}"

    def split(self, document: Document) -> list[Passage]:
        text = document.text
        marks = outline(document)
        if (whole := trim(text, 0, len(text))) is None:
            return []
        if weigh(text) <= self.limit:
            return _passages(document, (whole,), marks)
        spans: list[Span] = []
        run: list[_Piece] = []
        held = 0
        borders = [0, *(mark.start for mark in marks), len(text)]
        for start, end in pairwise(borders):
            if held and 4 * held >= self.limit:
                spans.extend(_packed(run, self.limit, self.overlap))
                run, held = [], 0
            for piece in self._blocks(text, start, end, document):
                run.append(piece)
                held += piece.words
            # Only what can still be one passage is carried into the next section.
            if held > self.limit:
                spans.extend(_packed(run, self.limit, self.overlap))
                run, held = [], 0
        spans.extend(_packed(run, self.limit, self.overlap))
        return _passages(document, spans, marks)

    def _blocks(self, text: str, start: int, end: int, document: Document) -> Iterator[_Piece]:
        if (whole := trim(text, start, end)) is None:
            return
        words = weigh(text[whole.start : whole.end])
        if words <= self.limit:
            yield _Piece(whole.start, whole.end, words)
            return
        code = "language" in document.metadata
        for block in _paragraphs(text, whole.start, whole.end):
            words = weigh(text[block.start : block.end])
            if words <= self.limit:
                yield _Piece(block.start, block.end, words)
            elif code or text.startswith(("```", "~~~", "    ", "|"), block.start):
                yield from _lines(text, block, self.limit)
            else:
                yield from _pieces(text, block.start, block.end, self.limit)


@dataclass(frozen=True, slots=True)
class SemanticChunker:
    """Whole sentences, parted where neighbours are about different things: where the cosine between the mean vectors of
    ``window`` sentences before and after a place is among the lowest ``share`` of the document's places, and wherever
    ``limit`` words would be passed (after Greg Kamradt's "5 levels of text splitting", level 4, 2023)."""

    embedder: Embedder = field(compare=False)
    limit: int = 200
    share: float = 0.2
    window: int = 2

    def __post_init__(self) -> None:
        _check("semantic", self.limit, 0)
        if not 0 < self.share < 1 or self.window < 1:
            raise InputError(
                f"semantic: got share {self.share} and window {self.window}, expected 0 < share < 1 and window >= 1",
                remedy="write semantic:200",
            )

    def __str__(self) -> str:
        return f"semantic:{self.limit}"

    def split(self, document: Document) -> list[Passage]:
        import numpy as np

        text = document.text
        pieces = list(_pieces(text, 0, len(text), self.limit))
        if len(pieces) < 3:
            return _passages(document, _packed(pieces, self.limit, 0))
        vectors = self.embedder.embed([text[piece.start : piece.end] for piece in pieces])
        sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
        places = np.arange(1, len(pieces))
        before = sums[places] - sums[np.maximum(places - self.window, 0)]
        after = sums[np.minimum(places + self.window, len(pieces))] - sums[places]
        scale = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        likeness = (before * after).sum(axis=1) / np.maximum(scale, 1e-12)
        lowest = int(np.ceil(self.share * len(places)))
        cuts = sorted(int(place) + 1 for place in np.argsort(likeness, kind="stable")[:lowest])
        spans: list[Span] = []
        for start, end in zip([0, *cuts], [*cuts, len(pieces)], strict=True):
            spans.extend(_packed(pieces[start:end], self.limit, 0))
        return _passages(document, spans)


def chunker(spec: str = DEFAULT, embedder: Embedder | None = None) -> Chunker:
    """The chunker that a text form names: ``fixed:256:32`` (words, overlap), ``sentences:200:40``, ``recursive:200``,
    ``semantic:200`` (needs an ``embedder``). Numbers may be left out. Raises InputError for anything else."""
    name, *rest = spec.strip().split(":")
    kinds: dict[str, Any] = {
        "fixed": FixedChunker,
        "sentences": SentenceChunker,
        "recursive": RecursiveChunker,
        "semantic": SemanticChunker,
    }
    most = 1 if name == "semantic" else 2
    if name not in kinds or len(rest) > most or not all(part.isascii() and part.isdigit() for part in rest):
        raise InputError(
            f"there is no chunker {spec!r}",
            remedy="write fixed:256:32, sentences:200:40, recursive:200 or semantic:200",
        )
    numbers = [int(part) for part in rest]
    if name != "semantic":
        made: Chunker = kinds[name](*numbers)
        return made
    if embedder is None:
        raise InputError("a semantic chunker needs an embedder", remedy="pass one, or write recursive:200")
    return SemanticChunker(embedder, *numbers)


def _check(name: str, limit: int, overlap: int) -> None:
    if limit < 8 or not 0 <= overlap <= limit // 2:
        raise InputError(
            f"{name}: got {limit} words with an overlap of {overlap}, expected at least 8 and an overlap of at most half",
            remedy=f"write {name}:200:20",
        )


_GAP = re.compile(r"\n[ \t]*\n\s*|(?<=\n)(`{3,}|~{3,})[^\n]*")
_FENCE = re.compile(r"`{3,}|~{3,}")


def _paragraphs(text: str, start: int, end: int) -> Iterator[Span]:
    """Blocks between empty lines; fenced code is one block, whatever empty lines it has."""
    begin, fence = start, ""
    if opening := _FENCE.match(text, start, end):
        fence = opening[0]
    for found in _GAP.finditer(text, start + len(fence), end):
        if found[1]:
            if not fence:
                if (span := trim(text, begin, found.start())) is not None:
                    yield span
                begin, fence = found.start(), found[1]
            elif found[1][0] == fence[0] and len(found[1]) >= len(fence):
                if (span := trim(text, begin, found.end())) is not None:
                    yield span
                begin, fence = found.end(), ""
        elif not fence:
            if (span := trim(text, begin, found.end())) is not None:
                yield span
            begin = found.end()
    if (span := trim(text, begin, end)) is not None:
        yield span


# ---------------------------------------------------------------- pieces and passages


@dataclass(slots=True)
class _Piece:
    """A span that is not cut further, and its words."""

    start: int
    end: int
    words: int


def _pieces(text: str, start: int, end: int, limit: int) -> Iterator[_Piece]:
    """Sentences; those longer than ``limit`` words in windows of words."""
    return _fitting(text, sentences(text, start, end), limit)


def _lines(text: str, block: Span, limit: int) -> Iterator[_Piece]:
    """Lines, without their breaks (code's indentation belongs to it); those longer than ``limit`` words in windows of
    words."""
    lines = (trim(text, start, stop) for start, stop in pairwise((block.start, *_ends(text, block))))
    return _fitting(text, filter(None, lines), limit)


def _ends(text: str, block: Span) -> Iterator[int]:
    """Where each line of a block ends, behind its break."""
    at = block.start
    while at < block.end:
        stop = text.find("\n", at, block.end)
        at = block.end if stop < 0 else stop + 1
        yield at


def _fitting(text: str, spans: Iterable[Span], limit: int) -> Iterator[_Piece]:
    for span in spans:
        words = weigh(text[span.start : span.end])
        if words <= limit:
            yield _Piece(span.start, span.end, words)
        else:
            for window in _windows(text, span.start, span.end, limit, 0):
                yield _Piece(window.start, window.end, limit)


def _windows(text: str, start: int, end: int, size: int, overlap: int) -> Iterator[Span]:
    held: list[tuple[int, int]] = []
    fresh = 0
    for word in each_unit(text, start, end):
        held.append(word)
        fresh += 1
        if len(held) == size:
            yield Span(held[0][0], word[1])
            held, fresh = held[size - overlap :], 0
    if fresh:
        yield Span(held[0][0], held[-1][1])


def _packed(pieces: Iterable[_Piece], limit: int, overlap: int) -> Iterator[Span]:
    """As many pieces together as fit in ``limit`` words; the next begins with the last ones of up to ``overlap``
    words."""
    held: list[_Piece] = []
    total = 0
    for piece in pieces:
        if held and total + piece.words > limit:
            yield Span(held[0].start, held[-1].end)
            kept: list[_Piece] = []
            room = min(overlap, limit - piece.words)
            total = 0
            for earlier in reversed(held):
                if total + earlier.words > room:
                    break
                kept.append(earlier)
                total += earlier.words
            held = kept[::-1]
        held.append(piece)
        total += piece.words
    if held:
        yield Span(held[0].start, held[-1].end)


def _passages(document: Document, spans: Iterable[Span], marks: Sequence[Heading] = ()) -> list[Passage]:
    base: Mapping[str, Any] = document.metadata
    pages = _pages(base.get("pages"))
    if pages:
        base = {key: value for key, value in base.items() if key != "pages"}
    starts = [mark.start for mark in marks]
    text, id = document.text, document.id
    out = []
    for span in spans:
        metadata = base
        if marks:
            at = bisect.bisect_right(starts, span.start) - 1
            if at >= 0 and marks[at].path:
                metadata = {**metadata, "heading": " > ".join(marks[at].path)}
        if pages:
            at = max(0, bisect.bisect_right(pages, span.start) - 1)
            metadata = {**metadata, "page": at + 1}
        out.append(
            Passage(f"{id}#{span.start}-{span.end}", id, span.start, span.end, text[span.start : span.end], metadata)
        )
    return out


def _pages(spans: Any) -> list[int]:
    """Starts of the pages, from ``start-end`` texts (see the PDF reader)."""
    if not isinstance(spans, list | tuple):
        return []
    try:
        return [int(str(span).partition("-")[0]) for span in spans]
    except ValueError:  # a column of that name
        return []
