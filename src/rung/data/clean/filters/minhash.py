"""Near-duplicates in a stream: each text is compared with those before it by MinHash, and the likely ones exactly.

Shingles are runs of three words (Broder, "On the resemblance and containment of documents", 1997). Bands of four
minima find candidates (Indyk and Motwani 1998; Leskovec et al., "Mining of massive datasets", chapter 3), as many
bands as find a pair at the threshold with 99.5%; the shingles of a candidate are then compared themselves, so what is
called a near-duplicate is one. Needs NumPy alone: minima over uint32 products run as fast as its vector units. Keys
lie in sorted runs that are merged as they grow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from rung.tasks.identity import words

WIDTH = 3
"""Words in a shingle."""
ROWS = 4
"""Minima in a band."""
CERTAIN = 0.995
"""How surely a pair at the threshold becomes a candidate."""
CROWD = 64
"""A text is compared with the last this many of those that share a band with it: texts of one template stay linear."""
BATCH = 4096
WORDS = 1 << 20
"""Words that are remembered at most."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


class _Words(dict[str, int]):
    """Words to 64-bit hashes that are the same in every process."""

    def __missing__(self, word: str) -> int:
        value = 0xCBF29CE484222325  # FNV-1a
        for byte in word.encode("utf-8", "surrogatepass"):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        if len(self) < WORDS:
            self[word] = value
        return value


def bands(threshold: float) -> int:
    """Bands with which a pair at the threshold shares one with the probability CERTAIN."""
    return math.ceil(math.log(1 - CERTAIN) / math.log(1 - threshold**ROWS))


class Deduplicator:
    """Remembers the texts that are kept and tells which later ones are near-duplicates of one of them.

    ``threshold`` is the Jaccard similarity of the sets of shingles from which on two texts count as the same, 0.4 to 1.
    A text with no word at all is like no other.
    """

    def __init__(self, threshold: float = 0.8, *, seed: int = 0) -> None:
        if not 0.4 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}, expected 0.4 to 1")
        self.threshold = threshold
        self._bands = bands(min(threshold, 0.99))
        draw = np.random.default_rng(seed)
        self._factors = (draw.integers(0, 1 << 32, self._bands * ROWS, dtype=np.uint64) | np.uint64(1)).astype(
            np.uint32
        )
        self._offsets = draw.integers(0, 1 << 32, self._bands * ROWS, dtype=np.uint64).astype(np.uint32)
        self._salts = draw.integers(0, 1 << 63, self._bands, dtype=np.uint64)
        self._hashes = _Words()
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._sets: list[NDArray[np.uint32]] = []  # shingles of the kept texts, a chunk a batch, sorted within a text
        self._starts: list[NDArray[np.int64]] = []
        self._bases: list[int] = [0]  # number of the first text of a chunk

    def __len__(self) -> int:
        return self._bases[-1]

    def insert(self, texts: Sequence[str]) -> None:
        """Remember texts without comparing them."""
        for begin in range(0, len(texts), BATCH):
            shingles, starts = self._shingles(texts[begin : begin + BATCH])
            self._keep(shingles, starts, self._keys(shingles, starts))

    def query_insert(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """For each text the number of a remembered one that it is a near-duplicate of, or -1: these are remembered in
        turn, numbered in the order in which they came. Shape (len(texts),)."""
        out = [self._query_insert(texts[begin : begin + BATCH]) for begin in range(0, len(texts), BATCH)]
        return np.concatenate(out) if out else np.zeros(0, np.int64)

    def query(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """``query_insert`` that remembers none of the texts."""
        out = np.full(len(texts), -1, np.int64)
        for begin in range(0, len(texts), BATCH):
            shingles, starts = self._shingles(texts[begin : begin + BATCH])
            own, other, _ = self._before(self._keys(shingles, starts))
            similar = self._jaccard(shingles, starts, own, *self._remembered(other))
            for place, number in zip(own[similar][::-1].tolist(), other[similar][::-1].tolist(), strict=True):
                out[begin + place] = number
        return out

    def _query_insert(self, texts: Sequence[str]) -> NDArray[np.int64]:
        shingles, starts = self._shingles(texts)
        keys = self._keys(shingles, starts)
        out = np.full(len(texts), -1, np.int64)
        own, other, sorted_keys = self._before(keys)
        similar = self._jaccard(shingles, starts, own, *self._remembered(other))
        for place, number in zip(own[similar][::-1].tolist(), other[similar][::-1].tolist(), strict=True):
            out[place] = number
        later, earlier = _beside(sorted_keys, self._bands)
        similar = self._jaccard(shingles, starts, later, shingles, starts, earlier)
        number = np.full(len(texts), -1, np.int64)
        links: dict[int, list[int]] = {}
        for one, two in zip(later[similar].tolist(), earlier[similar].tolist(), strict=True):
            links.setdefault(one, []).append(two)
        count = len(self)
        for place in range(len(texts)):
            if out[place] < 0:
                for before in sorted(links.get(place, ())):
                    if number[before] >= 0:
                        out[place] = number[before]
                        break
            if out[place] < 0:
                number[place] = count
                count += 1
        kept = number >= 0
        sizes = np.diff(starts)
        self._keep(shingles[np.repeat(kept, sizes)], np.r_[0, np.cumsum(sizes[kept])], keys[kept])
        return out

    # ------------------------------------------------------------ shingles and their minima

    def _shingles(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Distinct shingles of each text, sorted, flat; and where each text's begin, shape (n + 1,). A text of fewer
        words than a shingle is one shingle."""
        split = [words(text) for text in texts]
        counts = np.fromiter(map(len, split), np.int64, len(split))
        flat = np.fromiter(map(self._hashes.__getitem__, chain.from_iterable(split)), np.uint64, int(counts.sum()))
        if len(self._hashes) >= WORDS:
            self._hashes.clear()
        ends = np.cumsum(counts)
        padded = np.r_[flat, np.zeros(WIDTH, np.uint64)]
        mixed = np.zeros(len(flat), np.uint64)
        left = np.repeat(ends, counts) - np.arange(len(flat))  # words from here to the text's end
        for step in range(WIDTH):
            mixed = mixed * _MIX
            mixed += padded[step : step + len(flat)] * (left > step)
        whole = (left >= WIDTH) | (left == np.repeat(counts, counts))  # all of a short text
        owner = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)[whole]
        mixed = mixed[whole]
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        keys = np.sort((owner << np.uint64(32)) | (mixed >> np.uint64(32)))
        if len(keys):
            keys = keys[np.r_[True, keys[1:] != keys[:-1]]]
        starts = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32)).astype(np.int64)
        return keys.astype(np.uint32), starts

    def _keys(self, shingles: NDArray[np.uint32], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
        """A key for each text and band, shape (n, bands); 0 where a text has no shingle."""
        full = np.flatnonzero(np.diff(starts))
        keys = np.zeros((len(starts) - 1, self._bands), np.uint64)
        if not len(full):
            return keys
        begins = starts[full]
        for band in range(self._bands):
            key = np.full(len(full), self._salts[band], np.uint64)
            for row in range(band * ROWS, band * ROWS + ROWS):
                product = shingles * self._factors[row]
                product += self._offsets[row]
                product ^= product >> np.uint32(15)
                key = (key ^ np.minimum.reduceat(product, begins)) * _MIX
                key ^= key >> np.uint64(32)
            keys[full, band] = np.maximum(key, np.uint64(1))
        return keys

    # ------------------------------------------------------------ what is remembered

    def _keep(self, shingles: NDArray[np.uint32], starts: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        first, count = len(self), len(starts) - 1
        if not count:
            return
        self._sets.append(shingles)
        self._starts.append(starts)
        self._bases.append(first + count)
        numbers = np.repeat(np.arange(first, first + count, dtype=np.int64), self._bands)
        flat = keys.ravel()
        full = flat != 0
        self._runs.append(_sorted(flat[full], numbers[full]))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (late_keys, late), (early_keys, early) = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(np.r_[early_keys, late_keys], np.r_[early, late]))

    def _before(
        self, keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        """Candidates: places among the given texts and the remembered texts that share a band with them; and the
        sorted keys."""
        flat = keys.ravel()
        full = flat != 0
        places = np.repeat(np.arange(len(keys), dtype=np.int64), self._bands)[full]
        ordered, owners = _sorted(flat[full], places)
        left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for run, numbers in self._runs:
            low, high = np.searchsorted(run, ordered, "left"), np.searchsorted(run, ordered, "right")
            low = np.maximum(low, high - CROWD)
            found = high > low
            if found.any():
                left.append(np.repeat(owners[found], (high - low)[found]))
                right.append(numbers[_ranges(low[found], high[found])])
        pairs = np.unique(np.concatenate(left) << 32 | np.concatenate(right))
        return pairs >> 32, pairs & 0xFFFFFFFF, (ordered, owners)

    def _remembered(
        self, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
        """Shingles of the remembered texts of these numbers: flat, where each begins, and which one each number is."""
        wanted, which = np.unique(numbers, return_inverse=True)
        pieces, sizes = [np.zeros(0, np.uint32)], []
        for number, chunk in zip(
            wanted.tolist(), (np.searchsorted(self._bases, wanted, "right") - 1).tolist(), strict=True
        ):
            starts = self._starts[chunk]
            inside = number - self._bases[chunk]
            piece = self._sets[chunk][starts[inside] : starts[inside + 1]]
            pieces.append(piece)
            sizes.append(len(piece))
        return np.concatenate(pieces), np.r_[0, np.cumsum(np.array(sizes, np.int64))].astype(np.int64), which

    def _jaccard(
        self,
        shingles: NDArray[np.uint32],
        starts: NDArray[np.int64],
        own: NDArray[np.int64],
        others: NDArray[np.uint32],
        begins: NDArray[np.int64],
        other: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether each pair of sets is as similar as the threshold."""
        out = np.zeros(len(own), np.bool_)
        one, two = np.diff(starts)[own], np.diff(begins)[other]
        likely = np.flatnonzero(np.minimum(one, two) >= self.threshold * np.maximum(one, two) - 1e-9)
        for begin in range(0, len(likely), BATCH):
            rows = likely[begin : begin + BATCH]
            pair = np.arange(len(rows), dtype=np.uint64) << np.uint64(32)
            left = shingles[_ranges(starts[own[rows]], starts[own[rows] + 1])]
            right = others[_ranges(begins[other[rows]], begins[other[rows] + 1])]
            keys = np.r_[np.repeat(pair, one[rows]) | left, np.repeat(pair, two[rows]) | right]
            keys.sort(kind="stable")
            shared = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
            both = np.bincount(shared.astype(np.int64), minlength=len(rows))
            out[rows] = both >= self.threshold * (one[rows] + two[rows] - both) - 1e-9
        return out


def _sorted(keys: NDArray[np.uint64], values: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]


def _ranges(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """``low[0], ..., high[0] - 1, low[1], ...``."""
    counts = high - low
    out: NDArray[np.int64] = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts - low, counts)
    return out


def _beside(
    run: tuple[NDArray[np.uint64], NDArray[np.int64]], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (later, earlier) of texts of one batch that share a key."""
    keys, owners = run
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for step in range(1, CROWD + 1):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(same):
            break
        left.append(owners[same + step])
        right.append(owners[same])
    pairs = np.unique(np.concatenate(left) << 32 | np.concatenate(right))
    return pairs >> 32, pairs & 0xFFFFFFFF


def sets(texts: Iterable[str]) -> list[frozenset[str]]:
    """The same shingles as words, for people and for other programs."""
    out = []
    for text in texts:
        said = words(text)
        out.append(
            frozenset(" ".join(said[at : at + WIDTH]) for at in range(max(len(said) - WIDTH + 1, 1)))
            if said
            else frozenset()
        )
    return out
