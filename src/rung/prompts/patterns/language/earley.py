"""Earley's parser (1970) over characters, for languages of a user's own: any context-free grammar, ambiguous ones too.

Lark's is seven times slower on an ambiguous text of 100 characters and has no limit; this one counts what it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rung.core.errors import InputError

LONGEST = 2000
"""Characters of a text that is parsed at most."""
ITEMS = 1_000_000
"""Items of Earley's sets that one parse may go through: an ambiguous language has them by the cube of a text's
length."""


@dataclass(frozen=True, slots=True)
class Symbol:
    kind: Literal["rule", "text", "regex"]
    value: str


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of a parsed text: the rule it is (empty: a terminal), its text and its parts."""

    rule: str
    text: str
    parts: tuple[Node, ...] = ()

    def shown(self) -> Any:
        """Nested lists: rule, then parts; a terminal is its text."""
        return self.text if not self.rule else [self.rule, *(part.shown() for part in self.parts)]


class Chart:
    """Earley's recogniser (1970) over characters. ``whole``: every (rule, start, stop) that was completed."""

    def __init__(self, rules: Mapping[str, tuple[tuple[Symbol, ...], ...]], text: str, start: str) -> None:
        self.rules, self.text = rules, text
        self.whole: set[tuple[str, int, int]] = set()
        self._ends: dict[tuple[Symbol, int], list[int]] = {}
        self._left = ITEMS
        # An item: (rule, alternative, position in it, where it began).
        sets: list[dict[tuple[str, int, int, int], None]] = [{} for _ in range(len(text) + 1)]
        sets[0].update({(start, index, 0, 0): None for index in range(len(rules[start]))})
        for at in range(len(text) + 1):
            queue = list(sets[at])
            self.spend(len(queue))
            empty: set[str] = set()
            while queue:
                name, option, dot, began = queue.pop()
                symbols = rules[name][option]
                found: list[tuple[str, int, int, int]] = []
                if dot == len(symbols):
                    self.whole.add((name, began, at))
                    if began == at:
                        empty.add(name)
                    self.spend(len(sets[began]))
                    found = [
                        (n, o, d + 1, b)
                        for n, o, d, b in sets[began]
                        if d < len(rules[n][o]) and rules[n][o][d] == Symbol("rule", name)
                    ]
                elif symbols[dot].kind == "rule":
                    wanted = symbols[dot].value
                    found = [(wanted, index, 0, at) for index in range(len(rules[wanted]))]
                    if wanted in empty:  # completed here already, before this item asked for it
                        found.append((name, option, dot + 1, began))
                else:
                    for end in self.ends(symbols[dot], at):
                        sets[end][(name, option, dot + 1, began)] = None
                for item in found:
                    if item not in sets[at]:
                        sets[at][item] = None
                        queue.append(item)

    def spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise InputError(
                f"the text takes more than {ITEMS:,} steps to parse",
                remedy="parse it in pieces, or make the BNF less ambiguous",
            )

    def ends(self, symbol: Symbol, at: int) -> list[int]:
        """Where a terminal that begins at ``at`` can end, the longest first."""
        key = (symbol, at)
        if key not in self._ends:
            if symbol.kind == "text":
                self._ends[key] = [at + len(symbol.value)] if self.text.startswith(symbol.value, at) else []
            else:
                pattern = re.compile(symbol.value)
                longest = range(len(self.text), at, -1)
                self.spend(len(longest))
                self._ends[key] = [end for end in longest if pattern.fullmatch(self.text, at, end)]
        return self._ends[key]

    def tree(self, name: str, start: int, stop: int, above: frozenset[tuple[str, int, int]]) -> Node | None:
        self.spend(1)
        key = (name, start, stop)
        if key not in self.whole or key in above:
            return None
        for option in self.rules[name]:
            parts = self._parts(option, start, stop, above | {key})
            if parts is not None:
                return Node(name, self.text[start:stop], parts)
        return None

    def _parts(
        self, symbols: Sequence[Symbol], start: int, stop: int, above: frozenset[tuple[str, int, int]]
    ) -> tuple[Node, ...] | None:
        if not symbols:
            return () if start == stop else None
        first, rest = symbols[0], symbols[1:]
        ends = range(stop, start - 1, -1) if first.kind == "rule" else self.ends(first, start)
        for end in ends:
            if end > stop or (not rest and end != stop):
                continue
            if first.kind == "rule":
                if (first.value, start, end) not in self.whole:
                    continue
                others = self._parts(rest, end, stop, above)
                node = self.tree(first.value, start, end, above) if others is not None else None
            else:
                others = self._parts(rest, end, stop, above)
                node = Node("", self.text[start:end])
            if others is not None and node is not None:
                return (node, *others)
        return None
