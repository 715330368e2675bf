"""Postings: which texts have a term, how often, and the best of them for a query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CACHED_POSTINGS = 16_000_000
"""Postings whose weights are kept ready between searches, 4 to 8 bytes each."""

PRUNE_FROM = 500
"""Postings a term must have before it pays to look whether unseen texts still matter."""

SEEK = 16
"""A binary search costs about as much as this many postings added up."""

Postings = tuple["NDArray[np.int32]", "NDArray[np.float32]", float]
"""Rows with a term, ascending, their weights, and the largest of these."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Postings of some texts: those of the term ``terms[i]`` (ascending) are ``rows`` and ``counts`` from
    ``starts[i]`` up to ``starts[i + 1]``, rows ascending."""

    terms: NDArray[np.int32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[Any]

    @classmethod
    def build(cls, keys: NDArray[np.int64], counts: NDArray[Any] | None = None) -> Segment:
        """From keys ``term << 32 | row``: one for each token in any order, or sorted and unique with their counts."""
        if counts is None:
            keys.sort()
            first = np.flatnonzero(np.diff(keys, prepend=-1))
            counts = np.diff(first, append=len(keys))
            keys = keys[first]
        counts = counts.astype(np.min_scalar_type(int(counts.max(initial=0))), copy=False)
        rows = keys.astype(np.int32)  # the low 32 bits
        numbers = (keys >> 32).astype(np.int32)
        begins = np.flatnonzero(np.diff(numbers, prepend=-1))
        return cls(numbers[begins], np.append(begins, len(keys)), rows, counts)

    def find(self, term: int) -> slice:
        place = int(np.searchsorted(self.terms, term))
        if place == len(self.terms) or self.terms[place] != term:
            return slice(0, 0)
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def numbers(self) -> NDArray[np.int32]:
        """The term of each posting."""
        return np.repeat(self.terms, np.diff(self.starts))


class PostingsView:
    """What a search reads. Nothing of it changes but the cache, so that readers and a writer do not meet. ``norms`` has
    infinity for a deleted row, whose weight is then 0."""

    def __init__(
        self,
        ids: list[str],
        segments: tuple[Segment, ...],
        frequency: NDArray[np.int64],
        norms: NDArray[np.float32],
        live: int,
    ) -> None:
        self.ids, self.segments, self.frequency, self.norms, self.live = ids, segments, frequency, norms, live
        self._ready: dict[int, Postings] = {}
        self._held = 0

    def idf(self, term: int) -> float:
        known = int(self.frequency[term]) if 0 <= term < len(self.frequency) else 0
        return math.log1p((self.live - known + 0.5) / (known + 0.5))

    def postings(self, term: int) -> Postings:
        ready = self._ready.get(term)
        if ready is None:
            found = [(segment, segment.find(term)) for segment in self.segments]
            parts = [(segment.rows[at], segment.counts[at]) for segment, at in found if at.stop > at.start]
            if len(parts) == 1:
                rows, counts = parts[0]
            else:
                rows = np.concatenate([part[0] for part in parts] or [np.empty(0, np.int32)])
                counts = np.concatenate([part[1] for part in parts] or [np.empty(0, np.uint8)])
            weights = counts.astype(np.float32)
            weights /= weights + self.norms[rows]
            weights *= np.float32(self.idf(term))
            ready = rows, weights, float(weights.max(initial=0.0))
            if self._held + len(rows) > CACHED_POSTINGS:
                self._ready, self._held = {}, 0
            self._ready[term] = ready
            self._held += len(rows)
        return ready

    def rank(self, terms: Mapping[int, int], k: int, mask: NDArray[np.bool_] | None = None) -> list[tuple[str, float]]:
        """The ``k`` best rows for terms with their number in the query; ``mask`` is true for the rows that may be
        found."""
        plan = []
        for term, times in terms.items():
            rows, weights, top = self.postings(term)
            if top > 0:
                plan.append((top * times, times, rows, weights))
        plan.sort(key=lambda item: -item[0])
        rest = sum(item[0] for item in plan)  # the most that the terms from here on can add
        scores = np.zeros(len(self.norms), np.float32)
        seen: list[NDArray[np.int32]] = []
        count = 0
        pruned: NDArray[np.int32] | None = None
        for top, times, rows, weights in plan:
            if len(rows) > PRUNE_FROM and count >= k:
                some = np.concatenate(seen) if pruned is None else pruned
                have = scores[some]
                # A little slack for rounding: sums of the same terms are compared in single precision.
                least = float(np.partition(have, -k)[-k]) * (1 - 1e-5)
                if pruned is not None or rest < least:
                    pruned = some[have + np.float32(rest) >= least]
                    count = len(pruned)
            rest -= top
            if times > 1:
                weights = weights * np.float32(times)
            if pruned is not None and len(pruned) * SEEK < len(rows):
                places = np.searchsorted(rows, pruned)
                places[places == len(rows)] = 0
                hit = rows[places] == pruned
                scores[pruned[hit]] += weights[places[hit]]
            elif pruned is not None:
                scores[rows] += weights
            else:
                if mask is not None:
                    held = mask[rows]
                    rows, weights = rows[held], weights[held]
                before = scores[rows]
                new = rows[before == 0]
                scores[rows] = before + weights
                seen.append(new)
                count += len(new)
        if not count:
            return []
        rows = np.concatenate(seen) if pruned is None else pruned
        values = scores[rows]
        if len(values) > k:
            kept = values >= np.partition(values, -k)[-k]
            rows, values = rows[kept], values[kept]
        best = sorted(
            (-value, self.ids[row]) for row, value in zip(rows.tolist(), values.tolist(), strict=True) if value > 0
        )
        return [(id, -value) for value, id in best[:k]]


class SegmentList:
    """All segments of an index. ``frequency``: by term, the live texts that have it; ``dead``: by row, whether it was
    deleted."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.frequency = np.zeros(0, np.int64)
        self.dead = np.zeros(0, bool)

    def add(self, keys: NDArray[np.int64], terms: int) -> None:
        """A new segment of keys (term in the upper, row in the lower 32 bits); ``terms`` are known by now."""
        segment = Segment.build(keys)
        self.segments.append(segment)
        frequency = np.zeros(terms, np.int64)
        frequency[: len(self.frequency)] = self.frequency
        frequency[segment.terms] += np.diff(segment.starts)
        self.frequency = frequency

    def bury(self, rows: Sequence[int], count: int) -> None:
        """Take deleted rows out of the frequencies; ``count`` rows are known by now."""
        dead = np.zeros(count, bool)
        dead[: len(self.dead)] = self.dead
        if rows:
            gone = np.array(rows)
            frequency = self.frequency.copy()
            for segment in self.segments:
                if len(gone) == 1:
                    places = np.flatnonzero(segment.rows == gone[0])
                else:
                    fresh = np.zeros(count, bool)
                    fresh[gone] = True
                    places = np.flatnonzero(fresh[segment.rows])
                owners = segment.terms[np.searchsorted(segment.starts, places, side="right") - 1]
                frequency -= np.bincount(owners, minlength=len(frequency))
            self.frequency = frequency
            dead[gone] = True
        self.dead = dead

    def tidy(self) -> None:
        """Merge segments until each is more than twice as large as the next."""
        while len(self.segments) > 1 and len(self.segments[-1].rows) * 2 >= len(self.segments[-2].rows):
            self.segments[-2:] = [self._merge(self.segments[-2:])]

    def compact(self) -> NDArray[np.intp]:
        """One segment of the live rows, numbered from 0 on; which rows these were."""
        keep = np.flatnonzero(~self.dead)
        renumber = np.full(len(self.dead), -1, np.int64)
        renumber[keep] = np.arange(len(keep))
        merged = self._merge(self.segments)
        keys = (merged.numbers().astype(np.int64) << 32) | renumber[merged.rows]
        self.segments = [Segment.build(keys, merged.counts)]
        self.dead = np.zeros(len(keep), bool)
        return keep

    def _merge(self, segments: Sequence[Segment]) -> Segment:
        """One segment of several, without dead rows."""
        keys = np.concatenate([(part.numbers().astype(np.int64) << 32) | part.rows for part in segments])
        counts = np.concatenate([part.counts for part in segments])
        alive = ~self.dead[keys & 0xFFFFFFFF]
        keys, counts = keys[alive], counts[alive]
        order = np.argsort(keys, kind="stable")  # runs that are sorted already: close to linear
        return Segment.build(keys[order], counts[order])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that ``restore`` needs."""
        out: dict[str, NDArray[Any]] = {"frequency": self.frequency, "dead": self.dead}
        for place, segment in enumerate(self.segments):
            out |= {f"{part}{place}": getattr(segment, part) for part in _PARTS}
        return out

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], segments: int) -> SegmentList:
        """What ``arrays`` gave. Raises KeyError where it is something else."""
        made = cls()
        made.frequency, made.dead = arrays["frequency"], arrays["dead"]
        made.segments = [Segment(*(arrays[f"{part}{place}"] for part in _PARTS)) for place in range(segments)]
        return made


_PARTS = ("terms", "starts", "rows", "counts")
