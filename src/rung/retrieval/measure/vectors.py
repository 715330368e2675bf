"""Word vectors as a tool: neighbours, analogies, sums of words, offsets of relations, similarity sets, alignment of two
spaces.

All over unit vectors and cosines. An analogy a:b::c:? is answered by the word nearest to b - a + c that is none of the
three (3CosAdd; Mikolov et al. 2013, Levy & Goldberg 2014). Numeric work, synchronous.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.core.protocols import Embedder, EmbedderAround, Vocabulary
from rung.core.types import Interval
from rung.foundations.words.procrustes import rotation
from rung.metrics import stats

Floats = NDArray[np.float32]
BLOCK = 1 << 26
"""Cosines computed at once."""


@dataclass(frozen=True)
class Space:
    """``words`` and their unit ``vectors``, shape (words, dimensions). A word is looked up as written, then in lower
    case, then however it is cased. ``embed`` makes vectors of words that are not among them, where the embedder can."""

    words: Sequence[str]
    vectors: Floats
    embed: Callable[[Sequence[str]], Floats] | None = None
    _rows: dict[str, int] = field(default_factory=dict, repr=False)
    _folded: NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for row, word in enumerate(self.words):
            self._rows.setdefault(word, row)
        for row, word in enumerate(self.words):
            self._rows.setdefault(word.casefold(), row)
        numbers: dict[str, int] = {}
        folded = np.array([numbers.setdefault(word.casefold(), len(numbers)) for word in self.words], np.int64)
        object.__setattr__(self, "_folded", folded)

    @classmethod
    def of(cls, embedder: Embedder, words: Iterable[str] = ()) -> Space:
        """The embedder's own vocabulary (word vectors and the static embedder have one) and ``words``.

        Raises InputError when there is neither.
        """
        inner = embedder.inner if isinstance(embedder, EmbedderAround) else embedder
        have: list[str] = []
        vectors = np.empty((0, embedder.dimensions), np.float32)
        closed = False
        if isinstance(inner, Vocabulary):
            closed = inner.closed
            have, vectors = inner.vocabulary()
        known = set(have)
        more = [] if closed else [word for word in dict.fromkeys(words) if word not in known]
        if more:
            vectors = np.concatenate([vectors, embedder.embed(more)])
        if not have and not more:
            raise InputError(
                f"the embedder {embedder.name} has no vocabulary of its own",
                remedy="give words: --words FILE, one a line",
            )
        return cls([*have, *more], vectors, None if closed else embedder.embed)

    def row(self, word: str) -> int | None:
        """Where the word is; None where it is not."""
        for form in (word, word.lower(), word.casefold()):
            if (row := self._rows.get(form)) is not None:
                return row
        return None

    def vector(self, text: str) -> Floats:
        """The unit vector of a word or text, shape (dimensions,). Raises InputError for what has none."""
        row = self.row(text)
        if row is not None:
            return np.asarray(self.vectors[row])
        if self.embed is None:
            near = self.close(text)
            raise InputError(
                f"the vectors have no word {text!r}",
                remedy=f"did you mean {near}?" if near else "use another word, or another embedder",
            )
        return np.asarray(self.embed([text])[0])

    def close(self, text: str) -> str:
        import difflib

        return ", ".join(difflib.get_close_matches(text, self.words[:50_000], n=2))

    def nearest(self, vector: Floats, k: int, exclude: Iterable[str] = ()) -> list[tuple[str, float]]:
        """The ``k`` words of greatest cosine with ``vector``, best first (ties in the vocabulary's order), without
        those of ``exclude`` in any casing."""
        cosines = self.vectors @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        out = {word.casefold() for word in exclude}
        found: list[tuple[str, float]] = []
        for row in np.argsort(-cosines, kind="stable"):
            if len(found) == k:
                break
            if self.words[row].casefold() not in out:
                found.append((self.words[row], float(cosines[row])))
        return found

    def evaluate(self, expression: str, k: int) -> list[tuple[str, float]]:
        """The words nearest to a sum such as ``king - man + woman``, its own words left out. Raises InputError."""
        terms = parse_sum(expression)
        total = sum((sign * self.vector(word) for sign, word in terms), np.zeros(self.vectors.shape[1], np.float32))
        return self.nearest(np.asarray(total, np.float32), k, [word for _, word in terms])

    def analogy(self, a: str, b: str, c: str, k: int) -> list[tuple[str, float]]:
        """a is to b as c is to which words?"""
        return self.nearest(self.vector(b) - self.vector(a) + self.vector(c), k, (a, b, c))


def parse_sum(text: str) -> list[tuple[int, str]]:
    """``king - man + woman`` as (sign, word); a word or phrase with spaces or signs stands in double quotes.

    A sign counts where a space or the beginning is before it, so ``well-known`` is one word.
    """
    pieces = re.findall(r'"[^"]*"|(?<!\S)[+-](?=\s|"|\w)|[^\s"]+', text)
    terms: list[tuple[int, str]] = []
    sign: int | None = 1
    for at, piece in enumerate(pieces):
        if piece in ("+", "-") and (sign is None or at == 0):
            sign = 1 if piece == "+" else -1
        elif sign is not None and piece.strip('"+- '):
            terms.append((sign, piece.strip('"')))
            sign = None
        else:
            raise InputError(f"cannot read {text!r} at {piece!r}", remedy='write for instance: "king - man + woman"')
    if not terms or sign is not None:
        raise InputError(f"cannot read {text!r}: a word is missing", remedy='write for instance: "king - man + woman"')
    return terms


def parse_analogy(text: str) -> tuple[str, str, str]:
    """``man:woman::king:?`` as its three words. Raises InputError."""
    match = re.fullmatch(r"\s*([^:]+?)\s*:\s*([^:]+?)\s*::\s*([^:?]+?)\s*(?::\s*\??\s*)?", text)
    if match is None:
        raise InputError(f"got {text!r}, expected A:B::C:?", remedy='write for instance: "man:woman::king:?"')
    return match[1], match[2], match[3]


# ---------------------------------------------------------------- sets


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, plain or gzipped. Raises InputError."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        raw = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        return raw.decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it: {error}", file=path, remedy="name a UTF-8 text file") from None


def read_sections(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """A file of Google's analogy form: ``: section`` lines, then lines of words (four a line: analogies; two:
    pairs)."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    name, width = "", 0
    for number, line in enumerate(read_lines(path), 1):
        words = tuple(line.split())
        if not words:
            continue
        if words[0].startswith(":"):
            name = " ".join(words).lstrip(": ")
            continue
        width = width or len(words)
        if width not in (2, 4) or len(words) != width:
            raise InputError(
                f"got {len(words)} words, expected {width if width in (2, 4) else '4, or 2'}",
                file=path,
                line=number,
                remedy="correct the line",
            )
        sections.setdefault(name or "all", []).append(words)
    if not sections:
        raise InputError("the file has no words", file=path, remedy="name another file")
    return sections


def read_similarity(path: Path) -> list[tuple[str, str, float]]:
    """A similarity set: two words and people's score a line, between tabs or spaces."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("#"):
            continue
        try:
            rows.append((parts[0].strip(), parts[1].strip(), float(parts[2])))
        except (IndexError, ValueError):
            raise InputError(
                f"got {line[:60]!r}, expected two words and a number", file=path, line=number, remedy="correct the line"
            ) from None
    if len(rows) < 3:
        raise InputError(f"got {len(rows)} pairs, expected at least 3", file=path, remedy="name another file")
    return rows


# ---------------------------------------------------------------- measures


@dataclass(frozen=True, slots=True)
class Answered:
    """Analogies of one section: of ``asked`` all words of ``known`` are there; of these the answer was first, or
    among the first five."""

    section: str
    asked: int
    known: int
    first: int
    five: int

    def interval(self, right: int) -> Interval | None:
        return stats.wilson(right, self.known) if self.known else None


def answer(space: Space, sections: dict[str, list[tuple[str, ...]]]) -> list[Answered]:
    """3CosAdd over every analogy (a, b, c, d) of each section."""
    out = []
    folded = np.asarray(space._folded)
    for section, questions in sections.items():
        if len(questions[0]) != 4:
            raise InputError(
                f"section {section!r} has pairs, expected four words a line", remedy="use: rung vectors offsets"
            )
        rows = [[space.row(word) for word in question] for question in questions]
        known = np.array([row for row in rows if None not in row], np.int64).reshape(-1, 4)
        first = five = 0
        step = max(1, BLOCK // max(len(space.words), 1))
        for start in range(0, len(known), step):
            part = known[start : start + step]
            a, b, c = (space.vectors[part[:, at]] for at in range(3))
            cosines = (b - a + c) @ space.vectors.T
            for line, row in zip(cosines, part, strict=True):
                line[np.isin(folded, folded[row[:3]])] = -np.inf
                top = np.argpartition(-line, min(5, len(line) - 1))[:5]
                top = top[np.argsort(-line[top])]
                right = folded[top] == folded[row[3]]
                first += bool(right[:1].any())
                five += bool(right.any())
        out.append(Answered(section, len(questions), len(known), first, five))
    return out


@dataclass(frozen=True, slots=True)
class SimilarityAgreement:
    """Spearman's rank correlation of cosines with people's scores, over the ``known`` of ``asked`` pairs."""

    correlation: Interval
    asked: int
    known: int


def agree(
    space: Space, rows: Sequence[tuple[str, str, float]], *, resamples: int = 2000, seed: int = 0
) -> SimilarityAgreement:
    """The correlation with its percentile bootstrap interval over pairs. Raises InputError with under 3 known pairs."""
    pairs = []
    for one, two, score in rows:
        here = space.row(one), space.row(two)
        if space.embed is None and None in here:
            continue
        pairs.append((space.vector(one) @ space.vector(two), score))
    if len(pairs) < 3:
        raise InputError(
            f"the vectors know {len(pairs)} of the {len(rows)} pairs", remedy="use another embedder or another set"
        )
    values = np.array(pairs, np.float64)

    def correlations(draws: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([spearman(values[draw, 0], values[draw, 1]) for draw in draws])

    found = stats.bootstrap(correlations, len(values), resamples, seed)
    value, known = spearman(values[:, 0], values[:, 1]), found[~np.isnan(found)]
    if np.isnan(value):
        raise InputError("all pairs have one cosine or one score: nothing correlates", remedy="use another set")
    return SimilarityAgreement(stats.percentiles(value, known, len(values), -1.0, 1.0), len(rows), len(pairs))


def spearman(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank; nan where one side is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(two)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class Parallel:
    """How parallel the offsets of a relation's pairs are: the mean cosine between two of them, the same for pairs whose
    second words were shuffled, and the share of shuffles at least as parallel (permutation p)."""

    section: str
    pairs: int
    cosine: float
    shuffled: float
    p: float


def parallel(
    space: Space, sections: dict[str, list[tuple[str, ...]]], *, shuffles: int = 1000, seed: int = 0
) -> list[Parallel]:
    """For each section with at least 3 known pairs; analogy lines give their pairs (a, b) and (c, d)."""
    out = []
    rng = np.random.default_rng(seed)
    for section, lines in sections.items():
        pairs = dict.fromkeys((line[at], line[at + 1]) for line in lines for at in range(0, len(line), 2))
        rows = [(space.row(a), space.row(b)) for a, b in pairs]
        known = np.array([(a, b) for a, b in rows if a is not None and b is not None and a != b], np.int64).reshape(
            -1, 2
        )
        n = len(known)
        if n < 3:
            continue
        heads, tails = space.vectors[known[:, 0]], space.vectors[known[:, 1]]
        real = _together(tails - heads)
        chance = np.array([_together(tails[rng.permutation(n)] - heads) for _ in range(shuffles)])
        p = (1 + int((chance >= real - 1e-9).sum())) / (1 + shuffles)
        out.append(Parallel(section, n, real, float(chance.mean()), p))
    return out


def _together(offsets: Floats) -> float:
    """Mean cosine between two different rows: ||sum of unit rows||^2 = n + sum of the others' cosines."""
    norms = np.linalg.norm(offsets, axis=1, keepdims=True)
    rows = offsets / np.maximum(norms, 1e-12)
    n = len(rows)
    total = rows.sum(axis=0, dtype=np.float64)
    own = float((rows.astype(np.float64) ** 2).sum())
    return (float(total @ total) - own) / (n * (n - 1))


# ---------------------------------------------------------------- two spaces


@dataclass(frozen=True, slots=True)
class Aligned:
    """Word translation after alignment: of ``tested`` held-out source words, whose translation came first or among
    five."""

    trained: int
    tested: int
    first: Interval
    five: Interval
    unaligned: float


def align(
    source: Space, target: Space, pairs: Sequence[tuple[str, str]], *, held: float = 0.3, seed: int = 0
) -> tuple[Floats, Aligned]:
    """The orthogonal matrix that turns source vectors onto their translations (foundations/words/procrustes.py), fitted
    on part of the lexicon and measured on the source words held out.

    A word with several translations is right with any. ``unaligned`` is precision@1 without the matrix (nan where the
    spaces have different dimensions). Returns the matrix of shape (source dimensions, target dimensions). Raises
    InputError with fewer than 10 known pairs.
    """
    known: dict[int, set[int]] = {}
    for one, two in pairs:
        a, b = source.row(one), target.row(two)
        if a is not None and b is not None:
            known.setdefault(a, set()).add(b)
    if len(known) < 10:
        raise InputError(
            f"the two vocabularies share {len(known)} words of the lexicon", remedy="give a lexicon with at least 10"
        )
    order = np.random.default_rng(seed).permutation(sorted(known))
    tested = max(1, round(held * len(order)))
    train = [(row, other) for row in order[tested:] for other in sorted(known[int(row)])]
    left, right = np.array(train, np.int64).T
    matrix = rotation(source.vectors[left], target.vectors[right])

    def precision(rows: Floats) -> tuple[int, int]:
        cosines = rows @ target.vectors.T
        top = np.argsort(-cosines, axis=1, kind="stable")[:, :5]
        hits = [[int(t) in known[int(row)] for t in line] for row, line in zip(order[:tested], top, strict=True)]
        return sum(hit[0] for hit in hits), sum(any(hit) for hit in hits)

    mine = source.vectors[order[:tested]]
    first, five = precision(mine @ matrix)
    before = precision(mine)[0] / tested if mine.shape[1] == target.vectors.shape[1] else float("nan")
    return matrix, Aligned(len(order) - tested, tested, stats.wilson(first, tested), stats.wilson(five, tested), before)
