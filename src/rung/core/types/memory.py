"""What is remembered of people and of past work: rows that quote where they come from, by user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One thing remembered for a user under the name of a memory (``owner``). ``quote`` are the words that it rests on,
    characters ``begin`` to ``end`` of the text of event ``source`` (EPISODE#EVENT). Of items with one ``slot`` the
    newest holds."""

    id: str
    owner: str
    user: str
    kind: Literal["fact", "episode"]
    text: str
    quote: str = ""
    source: str = ""
    begin: int = 0
    end: int = 0
    slot: str = ""
    at: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)


class MemoryShelf(Protocol):
    """Where items are kept."""

    def keep(self, items: Sequence[MemoryItem]) -> None:
        """Keep items; one whose id is there stays as it is, one with the slot of another takes its place."""
        ...

    def of(self, user: str, owner: str | None = None) -> list[MemoryItem]:
        """A user's items, oldest first; those of other users never."""
        ...

    def edit(self, user: str, id: str, text: str) -> bool:
        """Change what an item says; whether there is such an item of the user."""
        ...


class KeptMemories:
    """Keeps items for as long as it lives."""

    def __init__(self) -> None:
        self._items: dict[str, MemoryItem] = {}

    def keep(self, items: Sequence[MemoryItem]) -> None:
        for item in items:
            if item.id in self._items:
                continue
            for other in self.of(item.user, item.owner):
                if item.slot and other.slot == item.slot:
                    del self._items[other.id]
            self._items[item.id] = item

    def of(self, user: str, owner: str | None = None) -> list[MemoryItem]:
        return [item for item in self._items.values() if item.user == user and owner in (None, item.owner)]

    def edit(self, user: str, id: str, text: str) -> bool:
        if (item := self._items.get(id)) is None or item.user != user:
            return False
        self._items[id] = replace(item, text=text)
        return True

    def forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._items.pop(id, None)
