"""What a memory is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rung.core.types.trail import Event

if TYPE_CHECKING:
    from rung.agents.loop.view import View


@runtime_checkable
class Memory(Protocol):
    """What is kept of an episode, as ``learned`` events of it, and what of earlier episodes a new one begins with."""

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """What is learned from an episode that ends now; each names the number of the event that shows it (``evidence``)."""
        ...

    def recall(self, learned: Sequence[Event]) -> list[dict[str, Any]]:
        """What a new episode is to know, of everything that the agent has learned before; each names its ``source``."""
        ...
