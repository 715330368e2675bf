"""Keyword search: BM25 over postings in NumPy arrays, updated in place, exact.

The score is Lucene's BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009): the
sum over the query's terms of ``idf * tf / (tf + k1 * (1 - b + b * length / mean length))`` with ``idf = ln(1 + (N - df
+ 0.5) / (df + 0.5))``. Deleted texts count nowhere. Rare terms are looked up first; once no unseen text can max_score
the k best, frequent terms are only looked up for the texts that still can (MaxScore: Turtle and Flood 1995), so that
frequent words cost little and nothing is lost.
"""

from __future__ import annotations

import json
import threading
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError, StoreError
from rung.core.system.arrays import read_arrays
from rung.core.system.files import atomic_write
from rung.retrieval.keyword.analysis import LONGEST, PLAIN, Analysis, fold
from rung.retrieval.keyword.postings import PostingsView, SegmentList
from rung.retrieval.keyword.tokens import split

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "keyword.npz"
FORMAT = 2

MERGE_TOKENS = 4_000_000
"""Tokens that may wait before they become postings: bounds the memory of a build."""

BATCH = 1024
"""Texts that are split into words at once."""
FEW = 16
"""Fewer texts than these are split one by one."""

_ENGLISH = Analysis()


class _Words(dict[str, int]):
    """Token to the number of its term, -1 for one that is left out; meets new tokens."""

    def __init__(self, analysis: Analysis, terms: dict[str, int]) -> None:
        super().__init__()
        self._analysis, self._terms = analysis, terms

    def __missing__(self, token: str) -> int:
        term = self._analysis.term(token)
        number = self._terms.setdefault(term, len(self._terms)) if term else -1
        if len(token) <= LONGEST:
            self[token] = number
        return number


class KeywordIndex:
    """Texts by id, found by their words.

    Readers may search while one thread writes; they see all of a call to ``add``, ``upsert`` or ``delete`` or nothing
    of it. ``generation`` and ``checksum`` are what the caller gave when the index was last saved: compare them with the
    source's own to see whether a saved index is stale.
    """

    def __init__(self, analysis: Analysis = _ENGLISH, k1: float = 1.2, b: float = 0.75) -> None:
        if not (k1 > 0 and 0 <= b <= 1):
            raise InputError(f"got k1 {k1} and b {b}, expected k1 above 0 and b from 0 to 1", remedy="leave them out")
        self.analysis, self.k1, self.b = analysis, k1, b
        self.generation, self.checksum = 0, ""
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._lengths = array("i")
        self._terms: dict[str, int] = {}
        self._words = _Words(analysis, self._terms)
        self._postings = SegmentList()
        self._waiting = array("i")  # terms of the texts whose postings are not built yet, from row _built on
        self._built = 0
        self._gone: list[int] = []  # rows deleted since the last view
        self._view: PostingsView | None = None
        self._mask: tuple[PostingsView, frozenset[str], NDArray[np.bool_]] | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    # ------------------------------------------------------------ writing

    def add(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Add new texts. Raises InputError for an id that is there or twice in the call; then nothing was added."""
        with self._lock:
            self._check(ids, texts)
            for id in ids:
                if id in self._rows:
                    raise InputError(f"id {id!r} is in the index already", remedy="call upsert to replace it")
            self._append(ids, texts)

    def upsert(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Add texts, replacing those whose id is there. Raises InputError for an id twice in the call."""
        with self._lock:
            self._check(ids, texts)
            self._remove(ids)
            self._append(ids, texts)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the texts that are there; how many were."""
        with self._lock:
            return self._remove(ids)

    def _check(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        if len(ids) != len(texts):
            raise InputError(
                f"got {len(ids)} ids and {len(texts)} texts, expected as many", remedy="give each text an id"
            )
        if len(set(ids)) != len(ids):
            twice = next(id for id, times in Counter(ids).items() if times > 1)
            raise InputError(f"id {twice!r} is twice in one call, expected each once", remedy="leave one out")

    def _append(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        number = self._words.__getitem__
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            if len(some) < FEW:
                lists = [self.analysis.tokens(text) for text in some]
                counts = np.array([len(own) for own in lists], np.int64)
                found = np.array([number(word) for own in lists for word in own], np.int32)
            else:
                words, places, counts = split(some, PLAIN, fold)
                found = np.fromiter(map(number, words), np.int32, len(words))[places]
            kept = found >= 0
            lengths = np.diff(np.concatenate(([0], np.cumsum(kept)))[np.cumsum(counts)], prepend=0)
            self._waiting.frombytes(found[kept].tobytes())
            self._lengths.frombytes(lengths.astype(np.int32).tobytes())
            first = len(self._ids)
            part = ids[start : start + BATCH]
            self._ids.extend(part)
            self._rows.update(zip(part, range(first, first + len(part)), strict=True))
            if len(self._waiting) >= MERGE_TOKENS:
                self._build()
        self._view = None

    def _remove(self, ids: Iterable[str]) -> int:
        gone = [row for id in ids if (row := self._rows.pop(id, None)) is not None]
        if gone:
            self._gone += gone
            self._view = None
        return len(gone)

    # ------------------------------------------------------------ from what was written to what is read

    def _build(self) -> None:
        """Make the waiting terms a segment."""
        if self._built < len(self._ids):
            lengths = np.array(self._lengths[self._built :], np.int64)
            keys = np.frombuffer(self._waiting, np.int32).astype(np.int64)
            keys <<= 32
            keys |= np.repeat(np.arange(self._built, len(self._ids)), lengths)
            self._postings.add(keys, len(self._terms))
            self._waiting = array("i")
            self._built = len(self._ids)

    def _settle(self) -> PostingsView:
        """The view of everything written so far."""
        view = self._view
        if view is not None:
            return view
        with self._lock:
            if self._view is None:
                self._build()
                self._postings.bury(self._gone, len(self._ids))
                self._gone = []
                if self._postings.dead.sum() > max(1000, len(self._ids) // 4):
                    self._compact()
                self._postings.tidy()
                lengths = np.array(self._lengths, np.float64)
                live = ~self._postings.dead
                mean = float(lengths[live].mean()) if live.any() else 0.0
                norms = self.k1 * (1 - self.b + self.b * lengths / (mean or 1.0))
                norms[~live] = np.inf
                parts = tuple(self._postings.segments), self._postings.frequency
                self._view = PostingsView(self._ids, *parts, norms.astype(np.float32), int(live.sum()))
            return self._view

    def _compact(self) -> None:
        """Give the live rows new numbers from 0 on, so that deleted ones take no room."""
        keep = self._postings.compact()
        self._ids = [self._ids[row] for row in keep.tolist()]
        self._rows = {id: row for row, id in enumerate(self._ids)}
        self._lengths = array("i", np.array(self._lengths, np.int32)[keep].tobytes())
        self._built = len(self._ids)

    # ------------------------------------------------------------ reading

    def search(self, query: str, k: int, allowed: Collection[str] | None = None) -> list[tuple[str, float]]:
        """The ``k`` best ids and their scores, best first, ties by id; only texts with a term of the query are found.

        A term counts as often as it is in the query. ``allowed``: only these ids (a frozenset given again is not read
        again).
        """
        if k < 1:
            raise InputError(f"got k {k}, expected 1 or more", remedy="ask for at least one hit")
        view = self._settle()
        return view.rank(self._numbers(query), k, self._allowed(view, allowed))

    def idf(self, query: str) -> dict[str, float]:
        """Each term of the query with its inverse document frequency here; a term that no text has gets the largest."""
        view = self._settle()
        return {term: view.idf(self._terms.get(term, -1)) for term in self.analysis.terms(query)}

    def max_score(self, query: str) -> tuple[float, int]:
        """The score that no text can quite max_score for this query (the sum of its terms' idf), and how many terms
        it has."""
        view = self._settle()
        terms = self.analysis.terms(query)
        return sum(view.idf(self._terms.get(term, -1)) for term in terms), len(terms)

    def _numbers(self, query: str) -> Counter[int]:
        return Counter(number for term in self.analysis.terms(query) if (number := self._terms.get(term)) is not None)

    def _allowed(self, view: PostingsView, allowed: Collection[str] | None) -> NDArray[np.bool_] | None:
        if allowed is None:
            return None
        held = self._mask
        if held is not None and held[0] is view and held[1] is allowed:
            return held[2]
        mask = np.zeros(len(view.norms), bool)
        # Under the lock: a row looked up here must be one of the view, which a writer may be about to renumber.
        with self._lock:
            rows = self._rows if view.ids is self._ids else {id: row for row, id in enumerate(view.ids)}
            found = [row for id in allowed if (row := rows.get(id)) is not None and row < len(mask)]
        mask[found] = True
        if isinstance(allowed, frozenset):
            self._mask = view, allowed, mask
        return mask

    # ------------------------------------------------------------ on disk

    def save(self, folder: Path, generation: int, checksum: str = "") -> None:
        """Write the index into ``folder`` in one step, marked with the ``generation`` and ``checksum`` of its source.

        It can be rebuilt from its source at any time, so it is not forced to the disk: after a power cut it may be
        damaged, which ``open`` notices.
        """
        with self._lock:
            self._settle()
            head = {
                "format": FORMAT,
                "generation": generation,
                "checksum": checksum,
                "analysis": asdict(self.analysis),
                "k1": self.k1,
                "b": self.b,
                "segments": len(self._postings.segments),
            }
            arrays: dict[str, NDArray[Any]] = {
                "head": _text(head),
                "ids": _text(self._ids),
                "words": _text(list(self._terms)),
                "lengths": np.array(self._lengths, np.int32),
                **self._postings.arrays(),
            }
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(folder / FILE, durable=False) as staging, staging.open("wb") as stream:
                    np.savez(stream, allow_pickle=False, **arrays)
            except OSError as error:
                raise StoreError(
                    f"cannot write the keyword index {folder / FILE}: {error.strerror or error}",
                    remedy="make room or give a folder that can be written",
                ) from error
            self.generation, self.checksum = generation, checksum

    @classmethod
    def open(cls, folder: Path) -> KeywordIndex:
        """The index that ``save`` wrote. Raises StoreError where there is none, or a damaged one, or one of another
        format."""
        path = folder / FILE
        try:
            arrays = read_arrays(path)
            head = json.loads(arrays["head"].tobytes())
            if head["format"] != FORMAT:
                raise StoreError(
                    f"the keyword index {path} has format {head['format']}, expected {FORMAT}",
                    remedy="build the index again",
                )
            index = cls(Analysis(**head["analysis"]), head["k1"], head["b"])
            index.generation, index.checksum = head["generation"], head["checksum"]
            index._ids = json.loads(arrays["ids"].tobytes())
            index._terms.update((term, place) for place, term in enumerate(json.loads(arrays["words"].tobytes())))
            index._lengths = array("i", arrays["lengths"].tobytes())
            index._postings = SegmentList.restore(arrays, head["segments"])
            if not len(index._ids) == len(index._lengths) == len(index._postings.dead):
                raise ValueError("its parts do not fit together")
        except FileNotFoundError:
            raise StoreError(f"there is no keyword index {path}", remedy="build the index first") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"the keyword index {path} is damaged: {error}", remedy="build the index again") from error
        dead = index._postings.dead.tolist()
        index._rows = {id: row for row, id in enumerate(index._ids) if not dead[row]}
        index._built = len(index._ids)
        return index


def _text(value: Any) -> NDArray[np.uint8]:
    """JSON as an array: no pickles."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
