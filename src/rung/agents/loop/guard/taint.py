"""Who has named a value? A target must have been named by somebody who is trusted, whatever a model says (after CaMeL:
Debenedetti et al. 2025, which tracks values through a program; here they are found again by their spelling)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rung.agents.loop.view import EpisodeTurn, Pending, View, signature

_SHORT = 3
"""Characters below which a value is found in any text."""


def strange(view: View, aims: Mapping[str, Any]) -> dict[str, Any]:
    """The targets with a value that neither the request, nor a person, nor a trusted tool has named.

    A tool's result names nothing where the tool was asked with words that nobody who is trusted had said, and never
    what stood in its
    arguments: else an untrusted value would only have to be looked up. A value counts as a whole, not as a part of a
    word or a list, and in its own spelling.
    """
    if not aims:
        return {}
    named: _Named = view.memo.setdefault("named", _Named())
    named.follow(view.turns, [view.request, *(text for text, _ in view.told)])
    return {name: value for name, value in aims.items() if not all(named.knows(leaf) for leaf in leaves(value))}


@dataclass
class _Named:
    """What has been named so far: single ``values`` of JSON, and ``texts``. ``turns`` were read."""

    values: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    turns: int = 0
    said: Sequence[str] = ()

    def follow(self, turns: Sequence[EpisodeTurn], said: Sequence[str]) -> None:
        self.said = said
        while self.turns < len(turns) and all(call.text is not None for call in turns[self.turns].calls):
            for call in turns[self.turns].calls:
                self._read(call)
            self.turns += 1

    def _read(self, call: Pending) -> None:
        given = {_spell(leaf) for leaf in leaves(dict(call.arguments))}
        made = call.key and not call.refused and call.trust == "trusted" and call.text is not None
        if not made or not all(self.knows(leaf) for leaf in given):
            return
        assert call.text is not None
        try:
            self.values |= {_spell(leaf) for leaf in leaves(json.loads(call.text))} - given
        except (ValueError, RecursionError):
            shown = call.text
            for value in sorted(given, key=len, reverse=True):
                shown = shown.replace(value, " ")
            self.texts.append(shown)

    def knows(self, value: Any) -> bool:
        text = _spell(value)
        if len(text) < _SHORT:
            return False
        if text in self.values:
            return True
        whole = re.compile(rf"(?<![\w@.+-]){re.escape(text)}(?![\w@+-]|\.\w)", re.IGNORECASE)
        return any(whole.search(given) for given in (*self.said, *self.texts))


def records(view: View, tool: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in what a tool gave in this episode, at any depth; of calls with equal arguments only the last
    one's."""
    known: set[str] = set()
    for turn in reversed(view.turns):
        for call in reversed(turn.calls):
            if call.tool != tool or call.text is None or (name := signature(tool, call.arguments)) in known:
                continue
            known.add(name)
            if call.refused or not call.key:
                continue
            try:
                yield from _objects(json.loads(call.text))
            except (ValueError, RecursionError):
                continue


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        yield from _objects(inner)


def leaves(value: Any) -> Iterator[Any]:
    """The single values in a JSON value."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    elif value is not None:
        yield value


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
