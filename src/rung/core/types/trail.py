"""What happened in an episode, event by event: written before it is acted on, read to go on after a crash.

Events are appended, never changed. ``(episode, seq)`` is unique, and that is the fence: of two processes that both
believe an episode to be theirs, the second append of a number fails, and that process stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from rung.core.errors import StoreError
from rung.core.types.mail import Mail, MemoryMail
from rung.core.types.memory import KeptMemories, MemoryShelf

Kind = Literal[
    "begun", "resumed", "observed", "said", "called", "learned", "asked", "decided", "warned", "steered", "ended"
]
"""``begun`` with what, ``resumed`` by whom; ``observed`` a result or a message; ``said`` a decision and what it cost;
``called`` a tool, written before the call; ``learned`` something to keep; ``asked`` a person, who ``decided``;
``warned`` by the harness, ``steered`` by a person; ``ended`` with an output."""

LABELS: Mapping[str, str] = {
    "observed": "perceive",
    "said": "reason",
    "called": "act",
    "asked": "act",
    "learned": "learn",
}
"""Perceive, reason, act, learn: the part of an agent's loop that an event belongs to; the others are the harness's."""


class Fenced(StoreError):
    """Somebody else has appended to the episode."""

    code = "fenced"


class Event(NamedTuple):
    """One event: ``payload`` is plain JSON, ``at`` Unix seconds. Numbers begin at 0 and leave none out."""

    episode: str
    seq: int
    kind: Kind
    payload: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Driver:
    """Who drives an episode from here on is this process. ``scope`` names the agent over all its episodes, ``parent``
    the episode that began this one, ``title`` says for people what it is about."""

    scope: str
    title: str = ""
    parent: str = ""


class Trail(Protocol):
    """Where events are kept."""

    @property
    def memories(self) -> MemoryShelf: ...

    def read(self, episode: str, since: int = 0) -> list[Event]:
        """The events of an episode from number ``since`` on, in order; none: there is no such episode. Raises
        StoreError with the code "tampered" where one is not as it was written."""
        ...

    @property
    def mail(self) -> Mail: ...

    async def append(self, events: Sequence[Event], driver: Driver | None = None, letters: Sequence[int] = ()) -> None:
        """Add events of one episode, all or none, and return when they are kept as durably as this trail keeps
        anything; the ``letters`` are read then. Raises Fenced when one of their numbers is there already, or somebody
        has read a letter."""
        ...

    def learned(self, scope: str) -> list[Event]:
        """What was learned in earlier episodes of an agent, oldest first."""
        ...

    async def perform(self, key: str, result: str) -> str:
        """Keep an effect under its key, once: the result that was kept first comes back, whoever asks again."""
        ...

    def effects(self, prefix: str) -> list[tuple[str, str]]:
        """The effects whose keys begin so, in the order in which they were kept."""
        ...


class MemoryTrail:
    """Keeps events for as long as it lives."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = {}
        self._scopes: dict[str, str] = {}
        self._effects: dict[str, str] = {}
        self.mail = MemoryMail()
        self.memories = KeptMemories()

    def read(self, episode: str, since: int = 0) -> list[Event]:
        return self._events.get(episode, [])[since:]

    async def append(self, events: Sequence[Event], driver: Driver | None = None, letters: Sequence[int] = ()) -> None:
        if not events:
            return
        kept = self._events.setdefault(events[0].episode, [])
        if events[0].seq != len(kept) or not self.mail.read(letters):
            raise Fenced(f"episode {events[0].episode} has gone on elsewhere: it has an event {events[0].seq} already")
        kept += events
        if driver is not None:
            self._scopes[events[0].episode] = driver.scope

    def learned(self, scope: str) -> list[Event]:
        return [
            event
            for episode, name in self._scopes.items()
            if name == scope
            for event in self._events[episode]
            if event.kind == "learned"
        ]

    async def perform(self, key: str, result: str) -> str:
        return self._effects.setdefault(key, result)

    def effects(self, prefix: str) -> list[tuple[str, str]]:
        return [(key, result) for key, result in self._effects.items() if key.startswith(prefix)]


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """The call of a tool within which this runs: an episode that begins here is a child of ``episode``, named after
    ``key``, and has ``tokens`` left (None: as many as it likes). ``name`` is the caller's mailbox."""

    trail: Trail
    episode: str
    key: str
    tokens: int | None = None
    name: str = ""


_trail: ContextVar[Trail | None] = ContextVar("rung_trail", default=None)
_caller: ContextVar[ToolCaller | None] = ContextVar("rung_caller", default=None)


@contextmanager
def calling(caller: ToolCaller) -> Iterator[None]:
    """Within the block, ``caller`` is whoever asks."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def caller() -> ToolCaller | None:
    """The nearest call of a tool that is being made."""
    return _caller.get()


@contextmanager
def recording(trail: Trail) -> Iterator[None]:
    """Within the block, episodes are kept in ``trail``; outside of any, each only for as long as it runs."""
    token = _trail.set(trail)
    try:
        yield
    finally:
        _trail.reset(token)


def trail() -> Trail | None:
    """The trail of the nearest ``recording`` block."""
    return _trail.get()
