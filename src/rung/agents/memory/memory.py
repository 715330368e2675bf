"""What a memory is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rung.core.types.memory import MemoryItem
from rung.core.types.trail import Event

if TYPE_CHECKING:
    from rung.agents.loop.view import View


@runtime_checkable
class Memory(Protocol):
    """What is kept of an episode, as ``learned`` events of it, and what of earlier episodes a new one begins with."""

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """What is learned from an episode that ends now; each names the number of the event that shows it
        (``evidence``)."""
        ...

    def recall(self, learned: Sequence[Event]) -> list[dict[str, Any]]:
        """What a new episode is to know, of everything that the agent has learned before; each names its ``source``."""
        ...


@runtime_checkable
class UserMemory(Protocol):
    """A memory by user that outlives the agent: whoever has the same ``owner`` reads it."""

    @property
    def owner(self) -> str: ...
    def items(self, view: View, verdict: Mapping[str, Any] | None, episode: str) -> list[MemoryItem]:
        """What is kept of an episode that ends now; each item quotes the event that it comes from."""
        ...

    def retrieve(self, items: Sequence[MemoryItem], request: str) -> list[dict[str, Any]]:
        """What a new episode is to know, of everything that is kept for its user; each names its ``source``."""
        ...


def ranked(query: str, texts: Sequence[str]) -> list[int]:
    """The places of the texts that share a word with the query, the best first (BM25)."""
    from rung.retrieval.keyword.keyword import KeywordIndex

    if not texts or not query.strip():
        return []
    index = KeywordIndex()
    index.add([str(at) for at in range(len(texts))], list(texts))
    return [int(id) for id, _ in index.search(query, len(texts))]


def recalled(query: str, texts: Sequence[str], most: int) -> list[int]:
    """The places of at most ``most`` texts, in their order: those near the query, then the latest."""
    near = ranked(query, texts)
    return sorted([*near, *(at for at in reversed(range(len(texts))) if at not in near)][:most])
