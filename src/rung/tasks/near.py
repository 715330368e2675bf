"""Near-duplicates: all pairs of texts whose sets of 5-character shingles have a Jaccard similarity of at least a
threshold.

An exact set-similarity join by prefix filtering (Bayardo, Ma and Srikant, "Scaling up all pairs similarity search",
WWW 2007; positions as in Xiao et al., "Efficient similarity joins for near duplicate detection", WWW 2008): order
each set by how rare its shingles are; two sets can only reach the threshold if their rarest (1 - t) share one. Unlike
MinHash it misses nothing at the threshold, and on short texts it needs fewer candidates. All of it is numpy over flat
arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rung.tasks.identity import IDEOGRAPH, identity

SHINGLE = 5
CROWD = 100
"""A shingle rare enough to be in a prefix, yet in more texts than this, comes from a template: there each text is
compared with the next CROWD ones only, so that time stays linear."""


def clusters(
    rows: Sequence[Sequence[str]], threshold: float | None = 0.8, groups: Sequence[str | None] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which rows belong together. ``rows[i]`` are the texts of row i's fields.

    Two rows are exact duplicates when all fields are equal after ``identity``, near-duplicates when in every field
    the Jaccard similarity is at least ``threshold`` (None: exact only). Rows with the same group (not None) belong
    together. Returns (exact, near, whole), each of shape (n,): the index of the first row of the row's cluster;
    ``exact`` joins exact duplicates only, ``near`` exact and near-duplicates, ``whole`` these and groups,
    transitively."""
    fields = [[identity(text) for text in row] for row in rows]
    exact = _firsts(["\x1f".join(texts) for texts in fields])
    near = exact.copy()
    if threshold is not None and len(rows):
        kept = np.unique(exact)
        first = _connected([[_wide(fields[row][index]) for row in kept] for index in range(len(fields[0]))], threshold)
        _join(near, kept, kept[first])
    whole = near.copy()
    if groups is not None:
        firsts: dict[str, int] = {}
        linked = [(firsts.setdefault(group, index), index) for index, group in enumerate(groups) if group is not None]
        _join(whole, np.array([a for a, _ in linked], np.intp), np.array([b for _, b in linked], np.intp))
    return exact, near, whole


def _firsts(keys: Sequence[str]) -> NDArray[np.intp]:
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(key, index) for index, key in enumerate(keys)], dtype=np.intp)


def _join(parents: NDArray[np.intp], left: NDArray[np.intp], right: NDArray[np.intp]) -> None:
    """Union-find over the links, in place; afterwards every entry is the smallest index of its cluster."""
    parent: list[int] = parents.tolist()

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        one, two = find(a), find(b)
        if one != two:
            parent[max(one, two)] = min(one, two)
    parents[:] = [find(item) for item in range(len(parent))]


# ---------------------------------------------------------------- the join


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct shingles of each text as numbers, flat, ordered by text and then by how rare the shingle is among the
    texts (rarest first); and offsets of shape (n + 1,). A text shorter than a shingle is one shingle."""
    padded = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, "\x00") for text in texts]
    sizes = np.array([len(text) for text in padded], dtype=np.int64)
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    mixed = np.zeros(max(len(codes) - SHINGLE + 1, 0), dtype=np.uint64)
    for shift in range(SHINGLE):  # a polynomial of the five code points, mixed to 64 bits (the finaliser of SplitMix64)
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[shift : len(codes) - SHINGLE + 1 + shift] + np.uint64(1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(31)
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(texts)), sizes)[: len(mixed)]
    inside = np.arange(len(mixed)) + SHINGLE <= ends[owner]  # a shingle does not reach into the next text
    owner, mixed = owner[inside], mixed[inside]
    _, number, count = np.unique(mixed, return_inverse=True, return_counts=True)
    rank = np.empty(len(count), dtype=np.int64)
    rank[np.argsort(count, kind="stable")] = np.arange(len(count))  # rarest shingle: rank 0
    keys = _distinct(owner.astype(np.int64) * len(count) + rank[number])  # sorted by text, then rank
    owners, ranks = np.divmod(keys, max(len(count), 1))
    return ranks, np.searchsorted(owners, np.arange(len(texts) + 1)).astype(np.int64)


def _wide(text: str) -> str:
    """The text with each ideograph three times: one says about as much as three letters, so that five characters in a
    row weigh as much in Chinese and Japanese as elsewhere."""
    return text if text.isascii() else IDEOGRAPH.sub(r"\g<0>\g<0>\g<0>", text)


def _distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted and distinct. (np.unique hashes first, which is several times slower on mostly distinct keys.)"""
    keys = np.sort(keys, kind="stable")
    return keys[np.r_[True, keys[1:] != keys[:-1]]] if len(keys) else keys


def _bitmaps(shingles: NDArray[np.int64], owners: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """Each set hashed into 512 bits, shape (n, 8): the bits in which two differ bound their symmetric difference from
    below."""
    out = np.zeros((count, 8), dtype=np.uint64)
    flags = np.zeros((min(count, 20_000), 512), dtype=bool)
    for begin in range(0, count, len(flags) or 1):
        low, high = np.searchsorted(owners, (begin, begin + len(flags)))
        flags[:] = False
        flags[owners[low:high] - begin, shingles[low:high] % 509] = True
        packed = np.packbits(flags, axis=1).view(np.uint64)
        out[begin : begin + len(flags)] = packed[: count - begin]
    return out


def _connected(columns: Sequence[Sequence[str]], threshold: float) -> NDArray[np.intp]:
    """For texts by field (``columns[f][i]``): the index of the first text of i's cluster, shape (n,)."""
    count = len(columns[0])
    parents = np.arange(count, dtype=np.intp)
    # The field with the most distinct values finds candidates; one that all rows share would make all of them
    # candidates. The others are looked at only where that one agrees.
    columns = sorted(columns, key=lambda texts: -len(set(texts)))
    sets = [_shingles(texts) for texts in columns]
    shingles, offsets = sets[0]
    sizes = np.diff(offsets)
    owners = np.repeat(np.arange(count), sizes)
    position = np.arange(len(shingles)) - offsets[owners]
    # If |A∩B| >= t|A∪B| then |A∩B| >= t|A|, so A and B share one of A's first |A| - ceil(t|A|) + 1 shingles.
    prefix = position < sizes[owners] - np.ceil(threshold * sizes[owners] - 1e-9) + 1
    held, owned = shingles[prefix], owners[prefix]
    bits = _bitmaps(shingles, owners, count)
    order = np.argsort(held, kind="stable")
    held, owned = held[order], owned[order]
    starts = np.flatnonzero(np.r_[True, held[1:] != held[:-1]])
    lengths = np.diff(np.r_[starts, len(held)])
    # Neighbours first: rows made from one template are then one cluster already, and few of their pairs are looked at.
    for crowd in (1, CROWD):
        for left, right in _candidates(owned, starts, lengths, crowd):
            small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
            likely = (small >= threshold * large - 1e-9) & (parents[left] != parents[right])
            one, two = np.divmod(_distinct(left[likely] * count + right[likely]), count)
            # J >= t means that the sets differ in at most (1 - t) / (1 + t) of their summed sizes.
            differ = np.bitwise_count(bits[one] ^ bits[two]).sum(axis=1, dtype=np.int64)
            close = differ <= (1 - threshold) / (1 + threshold) * (sizes[one] + sizes[two]) + 1e-9
            one, two = one[close], two[close]
            for ranks, edges in sets:
                enough = _jaccard(ranks, edges, one, two) >= threshold - 1e-9
                one, two = one[enough], two[enough]
            if len(one):
                _join(parents, one, two)
    return parents


def _candidates(
    owned: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64], crowd: int, batch: int = 500_000
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of texts that hold the same shingle in their prefixes, about ``batch`` at a time."""
    # Member m of a group of size s is paired with the following members: s - 1 - m of them, at most ``crowd``.
    where = np.arange(len(owned)) - np.repeat(starts, lengths)
    follow = np.minimum(np.repeat(lengths, lengths) - 1 - where, crowd)
    edges = np.r_[0, np.cumsum(follow)]
    begin = 0
    while begin < len(owned):
        end = max(int(np.searchsorted(edges, edges[begin] + batch, side="right")) - 1, begin + 1)
        counts = follow[begin:end]
        if counts.sum():
            left = np.repeat(np.arange(begin, end), counts)
            step = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
            yield owned[left], owned[left + step]
        begin = end


def _jaccard(
    shingles: NDArray[np.int64], offsets: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Jaccard similarity of each pair of sets, in batches: each shingle of the left text is looked up in the right
    one's."""
    sizes = np.diff(offsets)
    base = int(shingles.max(initial=0)) + 1
    keys = np.repeat(np.arange(len(sizes)), sizes) * base + shingles  # sorted: texts ascend, ranks ascend within
    out = np.empty(len(left), dtype=np.float64)
    step = max(1, 2_000_000 // max(int(sizes.mean()), 1)) if len(sizes) else 1
    for begin in range(0, len(left), step):
        one, two = left[begin : begin + step], right[begin : begin + step]
        counts = sizes[one]
        firsts = np.cumsum(counts) - counts
        flat = np.arange(int(counts.sum())) - np.repeat(firsts - offsets[one], counts)
        wanted = np.repeat(two, counts) * base + shingles[flat]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        shared = np.add.reduceat((keys[place] == wanted).astype(np.int64), firsts) if len(one) else firsts
        out[begin : begin + step] = shared / (counts + sizes[two] - shared)
    return out
