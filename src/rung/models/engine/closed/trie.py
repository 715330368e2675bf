"""Closed sets of answers as a token trie, and an exact best-first search for the most probable one.

A candidate's probability is the product, over the nodes on its way where more than one token is possible, of the
model's probability of its token renormalised over the tokens possible there; where only one token is possible it costs
nothing. These probabilities sum to one over the candidates. They only fall along a path, so expanding the most probable
open node first (uniform-cost search, Dijkstra 1959) ends with the exact best candidate as soon as a complete one is the
most probable.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Trie:
    """Token sequences as a tree. ``end`` follows a sequence where it is the beginning of another, so both can be told
    apart."""

    def __init__(self, sequences: Sequence[Sequence[int]], end: int) -> None:
        if not sequences:
            raise ValueError("a trie needs at least one sequence")
        self.children: list[dict[int, int]] = [{}]
        self.leaf: list[list[int]] = [[]]
        self.first: list[int] = [0]
        self.size = len(sequences)
        for index, sequence in enumerate(sequences):
            node = self._walk((*sequence, end), index)
            self.leaf[node].append(index)

    def _walk(self, tokens: Sequence[int], index: int) -> int:
        node = 0
        for token in tokens:
            child = self.children[node].get(token)
            if child is None:
                child = len(self.children)
                self.children[node][token] = child
                self.children.append({})
                self.leaf.append([])
                self.first.append(index)
            node = child
        return node

    def descend(self, node: int) -> tuple[tuple[int, ...], int]:
        """Follow the tokens that are forced from ``node``: those tokens, and the node where there is a choice or an
        end."""
        forced = []
        while len(self.children[node]) == 1:
            ((token, node),) = self.children[node].items()
            forced.append(token)
        return tuple(forced), node


TIE = 1e-4
"""Log-probabilities that differ by less count as equal, and the first candidate (the lowest token) wins: what the same
request gives alone and in a batch may differ by rounding."""


class Search:
    """One search. ``chain`` holds the tokens after the prompt whose next-token logits are needed, until it is
    ``done``."""

    def __init__(self, trie: Trie) -> None:
        self._trie = trie
        forced, node = trie.descend(0)
        self._heap: list[tuple[float, int, int, tuple[int, ...]]] = [(-0.0, trie.first[node], node, forced)]
        self._found: dict[int, float] = {}
        self.best = -1
        self.expanded = 0
        self.chain: tuple[int, ...] = ()
        self._node = 0
        self._cost = 0.0
        self._pop()

    @property
    def done(self) -> bool:
        return self.best >= 0

    @property
    def choices(self) -> Mapping[int, int]:
        """The possible next tokens at ``chain``."""
        return self._trie.children[self._node]

    def _pop(self) -> None:
        near = [heapq.heappop(self._heap)]
        while self._heap and self._heap[0][0] <= near[0][0] + TIE:
            near.append(heapq.heappop(self._heap))
        near.sort(key=lambda item: item[1:])
        cost, first, node, chain = near[0]
        for other in near[1:]:
            heapq.heappush(self._heap, other)
        if self._trie.children[node]:
            self._cost, self._node, self.chain = cost, node, chain
        else:
            self.best = first

    def _note(self, node: int, value: float) -> None:
        for index in self._trie.leaf[node]:
            self._found[index] = value

    def expand(self, logits: NDArray[np.float32]) -> None:
        """Give the logits (shape: vocabulary) that follow ``chain``; goes on to the next chain, or ends."""
        tokens = list(self.choices)
        values = [float(x) for x in logits[tokens]]
        top = max(values)
        if not math.isfinite(top):
            raise ValueError(f"expected finite logits, got {top}")
        norm = top + math.log(math.fsum(math.exp(x - top) for x in values))
        self.expanded += 1
        for token, value in zip(tokens, values, strict=True):
            forced, node = self._trie.descend(self.choices[token])
            cost = self._cost + max(0.0, norm - value)
            if not self._trie.children[node]:
                self._note(node, -cost)
            heapq.heappush(self._heap, (cost, self._trie.first[node], node, (*self.chain, token, *forced)))
        self._pop()

    def logprobs(self) -> tuple[float, ...]:
        """For each candidate its log-probability, minus infinity where it was proven not to be the best before it was
        reached."""
        if self._trie.size and not self._found:
            self._note(self._node_of_only(), 0.0)
        return tuple(self._found.get(index, -math.inf) for index in range(self._trie.size))

    def _node_of_only(self) -> int:
        return self._trie.descend(0)[1]
