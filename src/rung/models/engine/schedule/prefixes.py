"""The blocks of the cache, and the tree of prompt blocks that jobs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 8
"""Fewer common tokens than this inside a block are computed again rather than waited for and copied."""

TAIL = 2
"""A prompt's last piece has at least this many tokens (unless the prompt is shorter)."""


class PrefixNode:
    """A cached block of prompt tokens in the tree; ``ready`` once it is computed."""

    __slots__ = ("block", "children", "parent", "ready", "refs", "tokens", "used")

    def __init__(self, tokens: tuple[int, ...], block: int, parent: PrefixNode | None) -> None:
        self.tokens = tokens
        self.block = block
        self.parent = parent
        self.children: dict[tuple[int, ...], PrefixNode] = {}
        self.refs = 0
        self.ready = False
        self.used = 0


@dataclass(frozen=True)
class _Match:
    """``nodes`` shared whole, ``extra`` more tokens to copy from ``source``; ``wait``: something better is being
    computed."""

    nodes: list[PrefixNode]
    source: PrefixNode | None = None
    extra: int = 0
    wait: bool = False


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


class Prefixes:
    """The blocks of the cache: free ones, ones in use, and the tree of prompt blocks that may be shared."""

    def __init__(self, block: int, blocks: int) -> None:
        self.block = block
        self._free = list(range(blocks - 1, -1, -1))
        self._roots: dict[int, PrefixNode] = {}
        self._nodes: set[PrefixNode] = set()
        self._clock = 0

    @property
    def free(self) -> int:
        """Blocks that are free or can be made so."""
        return len(self._free) + sum(1 for node in self._nodes if node.refs == 0)

    def _root(self, adapter: int) -> PrefixNode:
        return self._roots.setdefault(adapter, PrefixNode((), -1, None))

    def match(self, prompt: tuple[int, ...], adapter: int = 0) -> _Match:
        """The longest reusable prefix of ``prompt``: whole blocks, then part of one more."""
        limit = len(prompt) - TAIL
        nodes: list[PrefixNode] = []
        at, node = 0, self._root(adapter)
        while at + self.block <= limit:
            child = node.children.get(prompt[at : at + self.block])
            if child is None:
                break
            if not child.ready:
                return _Match(nodes, wait=True)
            nodes.append(child)
            node, at = child, at + self.block
        rest = prompt[at : min(at + self.block, limit)]
        best: PrefixNode | None = None
        extra, waiting = 0, 0
        for child in node.children.values() if rest else ():
            if child.tokens[0] != rest[0]:
                continue
            n = _common(child.tokens, rest)
            if not child.ready:
                waiting = max(waiting, n)
            elif n > extra:
                best, extra = child, n
        if waiting >= extra + SHARE:
            return _Match(nodes, wait=True)
        if extra < SHARE:
            best, extra = None, 0
        return _Match(nodes, best, extra)

    def claim(self, prompt: tuple[int, ...], shared: list[PrefixNode], adapter: int = 0) -> list[PrefixNode]:
        """Take the shared nodes and new, not yet ready ones for the rest of the prompt; raises IndexError when full."""
        self._clock += 1
        path = list(shared)
        for node in path:
            node.refs += 1
            node.used = self._clock
        root = self._root(adapter)
        node = path[-1] if path else root
        for at in range(len(path) * self.block, len(prompt), self.block):
            tokens = prompt[at : at + self.block]
            new = PrefixNode(tokens, self.take(), node)
            new.refs, new.used = 1, self._clock
            # A twin exists when the last tokens were left to compute (TAIL): keep it, and ours out of the tree.
            if tokens not in node.children and (node is root or node in self._nodes):
                node.children[tokens] = new
                self._nodes.add(new)
            path.append(new)
            node = new
        return path

    def release(self, path: list[PrefixNode]) -> None:
        """A job is done with its prompt's blocks: computed ones stay in the tree, the others are freed."""
        for node in reversed(path):
            node.refs -= 1
            if node not in self._nodes:
                self._free.append(node.block)
            elif not node.ready:
                self._drop(node)

    def _drop(self, node: PrefixNode) -> None:
        assert node.parent is not None
        del node.parent.children[node.tokens]
        self._nodes.remove(node)
        self._free.append(node.block)

    def forget(self) -> None:
        """Give up every block that no job uses: the next prompt finds nothing of what was computed before."""
        while leaves := [node for node in self._nodes if node.refs == 0 and not node.children]:
            for node in leaves:
                self._drop(node)

    def take(self) -> int:
        """A free block; the least recently used unshared leaves are given up when there is none."""
        if not self._free:
            leaves = sorted((n for n in self._nodes if n.refs == 0 and not n.children), key=lambda n: n.used)
            for node in leaves[: max(1, len(leaves) // 8)]:
                self._drop(node)
        return self._free.pop()

    def give(self, block: int) -> None:
        self._free.append(block)
