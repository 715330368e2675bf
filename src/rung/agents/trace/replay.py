"""Do an episode again from its trail: the same loop and environment, with recorded decisions and results of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from rung.agents.environments.environment import Environment, Observation
from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.log import Agent
from rung.agents.loop.move import AgentPolicy, Call, Concluding, Decision
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.parts.meter import report
from rung.core.types import Usage
from rung.core.types.trail import Driver, Event, Kind, MemoryTrail, Trail

COMPARED = ("observed", "said", "called", "learned", "warned", "ended")
"""Kinds of events that a replay must make again, byte for byte; the others are made by people and processes."""


@dataclass(frozen=True)
class Replayed:
    """Decides what was decided, in order; what is after the last decision, ``then`` decides."""

    events: tuple[Event, ...]
    then: AgentPolicy | None = None

    async def decide(self, view: View) -> Decision:
        said = [event for event in self.events if event.kind == "said"]
        if view.steps >= len(said):
            if self.then is None:
                raise InputError(
                    "the recorded episode has no further decision", remedy="replay a whole one", code="replay-short"
                )
            return await self.then.decide(view)
        if "usage" in said[view.steps].payload:
            report(Usage(**said[view.steps].payload["usage"]))
        return move_of(said[view.steps], self.events)


@dataclass(frozen=True)
class ReplayedToItsEnd(Replayed):
    """For a policy that gives an output also where a limit ends it."""

    async def conclude(self, view: View) -> Any:
        said = [event for event in self.events if event.kind == "said"]
        return said[view.steps].payload.get("output") if view.steps < len(said) else None


def move_of(said: Event, events: tuple[Event, ...]) -> Decision:
    """The decision that a ``said`` event and the calls behind it were made of."""
    calls = []
    for event in events[said.seq + 1 :]:
        if event.kind == "called" or (event.kind == "observed" and "tool" in event.payload):
            calls.append(Call(event.payload["tool"], event.payload["arguments"]))
        elif event.kind == "asked" and (shown := event.payload.get("approve")) is not None:
            calls.append(Call(shown["tool"], shown["arguments"]))
        elif event.kind not in ("learned", "asked"):
            break
    kept = {name: said.payload[name] for name in ("thought", "plan", "ask", "request", "reply") if name in said.payload}
    return Decision(tuple(calls), finished="output" in said.payload, output=said.payload.get("output"), **kept)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first event that came out otherwise: its number, and what was recorded and made (empty: there was none)."""

    seq: int
    recorded: str
    made: str


def events_of(episode: str, trail: Trail) -> list[Event]:
    """The events of an episode. Raises InputError where there are none."""
    events = trail.read(episode)
    if not events:
        raise InputError(f"there is no episode {episode!r}", remedy="list them: rung agent list", code="no-episode")
    return events


async def replay(agent: Agent, events: list[Event], *, live: frozenset[str] = frozenset()) -> Divergence | None:
    """Do the episode again in memory; None where every event came out as it was recorded. ``live``: "model" asks the
    policy again, "tools" calls the tools again; otherwise both give what was recorded.

    An episode in which people have steered is compared up to there.
    """
    again = _Replay(agent, events, live)
    with suppress(_Done):
        await again.run(replace(start_of(events[0]), lessons=tuple(events[0].payload.get("lessons", ()))))
    recorded = [event for event in events[: again.most] if event.kind in COMPARED]
    mine = [event for event in again.made if event.kind in COMPARED]
    for one, other in zip_longest(recorded, mine):
        left, right = _content(one), _content(other)
        if left != right:
            return Divergence((one or other).seq, left, right)
    return None


async def fork(agent: Agent, events: list[Event], at: int, changed: Mapping[str, Any], trail: Trail, id: str) -> View:
    """A child episode that is the recorded one up to event ``at``, has ``changed`` in that event's payload, and goes on
    by itself.

    Raises InputError where the event is none that can be changed.
    """
    if not 0 < at < len(events):
        raise InputError(f"the episode has no event {at} to change", remedy=f"expected 1 to {len(events) - 1}")
    event = events[at]
    unknown = sorted(set(changed) - set(event.payload))
    if event.kind not in ("said", "observed", "called", "steered") or unknown:
        raise InputError(
            f"event {at} is {event.kind!r}" + (f" and has no {unknown[0]!r}" if unknown else ""),
            remedy=f"change {', '.join(event.payload)} of an event that is said, called or observed",
        )
    begun = events[0]._replace(payload={**events[0].payload, "parent": events[0].episode})
    kept = [begun, *events[1:at], event._replace(payload={**event.payload, **changed})]
    last = kept[-1]
    if last.kind == "called":  # made anew, as a call of its own
        kept[-1] = last._replace(payload={**last.payload, "key": f"{id}-{last.seq}"})
    driver = Driver(agent.identity, f"from event {at} of {events[0].episode}", events[0].episode)
    await trail.append([one._replace(episode=id) for one in kept], driver)
    return await Episode(agent, id, trail).run(start_of(events[0]))


def comparable(events: Sequence[Event]) -> int:
    """How many of an episode's events a replay compares: up to the first that a person had a part in."""
    return next((event.seq for event in events if event.kind in ("steered", "asked", "decided")), len(events))


def start_of(begun: Event) -> Start:
    """What an episode was begun with."""
    said = begun.payload
    return Start(said["request"], said["scenario"], said["seed"], said.get("parent", ""), said.get("user", ""))


def _content(event: Event | None) -> str:
    """What is compared of an event. What it cost is not: time passes otherwise."""
    if event is None:
        return ""
    return f"{event.kind} {canonical({name: value for name, value in event.payload.items() if name != 'usage'})}"


class _Done(Exception):
    """As many events were made as can be compared."""


class _Recorded(Toolset):
    """Gives what was recorded for each call, by its key."""

    def __init__(self, agent: Agent, events: list[Event]) -> None:
        super().__init__(tuple(agent.tools.tools.values()), agent.environment)
        keys = {event.seq: event.payload["key"] for event in events if event.kind == "called"}
        self.results = {
            keys[event.payload["call"]]: Observation(
                event.payload["text"],
                refused=event.payload.get("refused", False),
                trust=event.payload.get("trust", "trusted"),
                usage=Usage(**event.payload.get("usage", {})),
            )
            for event in events
            if event.kind == "observed" and event.payload.get("call") in keys
        }

    async def call(self, call: Call, key: str, environment: Environment | None, wait: float) -> Observation:
        if call.tool not in self.tools:
            return await super().call(call, key, environment, wait)
        if key not in self.results:
            return Observation(f"no result of {call.tool} was recorded for this call", refused=True)
        return self.results[key]


class _Replay(Episode):
    """The loop with the numbers and times of the record."""

    def __init__(self, agent: Agent, events: list[Event], live: frozenset[str]) -> None:
        recorded = ReplayedToItsEnd if isinstance(agent.policy, Concluding) else Replayed
        policy = agent.policy if "model" in live else recorded(tuple(events))
        tools = agent.tools if "tools" in live else _Recorded(agent, events)
        self.made: list[Event] = []
        self.most = comparable(events)
        self._whole = self.most == len(events)
        self._times = {event.seq: event.at for event in events}
        self._recorded = {event.seq: event.payload for event in events}
        self._skipped = {event.seq for event in events if event.kind == "resumed"}
        super().__init__(replace(agent, policy=policy, tools=tools), events[0].episode, _Nowhere(), self._watch)

    async def receive(self) -> None:
        while "letter" in (payload := self._recorded.get(self.seq, {})):
            self.note("observed", payload)

    def now(self) -> float:
        return self._times.get(self.seq, self._times[max(self._times)])

    def note(self, kind: Kind, payload: Mapping[str, Any]) -> int:
        while self.seq in self._skipped:
            self.seq += 1
        return super().note(kind, payload)

    def _watch(self, event: Event) -> None:
        if event.seq >= self.most and not self._whole:
            raise _Done
        self.made.append(event)


class _Nowhere(MemoryTrail):
    """Keeps nothing."""

    async def append(self, events: Sequence[Event], driver: Driver | None = None, letters: Sequence[int] = ()) -> None:
        return None
