"""An episode's events on their way to the trail and back: noted, committed, folded in again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rung.agents.environments.environment import Environment, Observation
from rung.agents.loop.guard.guard import CallGuard
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import AgentPolicy, Call
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.memory.memory import Memory, UserMemory
from rung.core.codec import digest
from rung.core.errors import InputError, StoreError
from rung.core.types.trail import Driver, Event, Fenced, Kind, Trail

JUMP = 5.0
"""Seconds by which the machine's clock may leave the stopwatch before it counts as set anew."""


@dataclass(frozen=True)
class Agent:
    """What an episode needs: how to decide, what to call, where. ``identity`` changes whenever it may act differently;
    ``spec`` makes it again."""

    policy: AgentPolicy
    tools: Toolset
    environment: Environment | None = None
    limits: EpisodeLimits = field(default_factory=EpisodeLimits)
    memory: Memory | None = None
    guard: CallGuard | None = None
    mailbox: str = ""
    identity: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    def enter(self, scenario: str, seed: int) -> tuple[Agent, Observation | None]:
        """The agent with the tools of a scenario, its environment reset to that, and what this shows."""
        if self.environment is None:
            return self, None
        shown = self.environment.reset(scenario, seed)
        tools = self.tools.now(self.environment)
        return (self if tools is self.tools else replace(self, tools=tools)), shown


class EpisodeLog:
    """The events of one episode, and what they add up to (``view``). ``watch`` is told of each."""

    def __init__(self, agent: Agent, id: str, trail: Trail, watch: Callable[[Event], None] | None = None) -> None:
        self.agent, self.id, self.trail, self.watch = agent, id, trail, watch
        self.pending: list[Event] = []
        self.letters: list[int] = []
        """Letters that are read when the pending events are in the trail."""
        self.leave = False
        """Set from outside: stop at the end of the step; the episode can be resumed."""
        self.lost: frozenset[int] = frozenset()
        """Calls whose results a crash has swallowed."""
        self._zero = time.time() - time.monotonic()
        self._fresh()

    def _fresh(self) -> None:
        agent, world = self.agent, self.agent.environment
        domain, oracle = (world.domain(), world.oracle) if world is not None else (None, None)
        self.view = View(agent.tools.specs, agent.tools.volatile, agent.limits, domain, oracle, agent.tools.complaint)
        self.seq = 0

    def recalled(self, user: str, request: str) -> tuple[Mapping[str, Any], ...]:
        """What the agent's memory knows that this episode is to know."""
        memory = self.agent.memory
        if memory is None:
            return ()
        known = list(memory.recall(self.trail.learned(self.agent.identity)))
        if isinstance(memory, UserMemory):
            known += memory.retrieve(self.trail.memories.of(user, memory.owner), request)
        return tuple(known)

    def remember(self, verdict: Mapping[str, Any] | None) -> None:
        """Keep what the memory takes from this episode for its user: before it has ended, so that a crash loses
        nothing."""
        memory: object = self.agent.memory
        if isinstance(memory, UserMemory):
            items = memory.items(self.view, verdict, self.id)
            self.trail.memories.keep(items)
            for item in items:
                evidence = int(item.source.partition("#")[2])
                self.note("learned", {"evidence": evidence, "memory": item.id, "note": f"kept as a {item.kind}"})

    def now(self) -> float:
        """Unix seconds; between two settings of the machine's clock they go on as a stopwatch does."""
        return self._zero + time.monotonic()

    def note(self, kind: Kind, payload: Mapping[str, Any]) -> int:
        """The next event; it is on its way to the trail, not there yet."""
        event = Event(self.id, self.seq, kind, payload, self.now())
        self.seq += 1
        self.pending.append(event)
        self.view.add(event)
        if self.watch is not None:
            self.watch(event)
        return event.seq

    async def commit(self, driver: Driver | None = None) -> None:
        """All noted events are in the trail. Raises Fenced where somebody else has gone on."""
        if self.pending:
            self._follow_clock()
            await self.trail.append(self.pending, driver, self.letters)
            self.pending, self.letters = [], []

    def _follow_clock(self) -> None:
        """Where the machine's clock was set, stamps go on by it: else an episode at work looks stalled for as long as
        the clock was set forward. The event says by how much, and that span is no work."""
        jump = time.time() - time.monotonic() - self._zero
        if abs(jump) > JUMP and self.view.ended is None:
            self._zero += jump
            self.note("resumed", {"clock": round(jump, 3)})

    async def resume(self, events: list[Event], driver: Driver) -> None:
        """Fold a trail in, bring the environment to where it was by the calls that it answered, and say that this
        process drives the episode now."""
        identity, world = events[0].payload.get("agent", ""), self.agent.environment
        if identity != self.agent.identity:
            raise InputError(
                f"episode {self.id} was begun by another agent ({identity[:8]}, this is {self.agent.identity[:8]})",
                remedy="resume it with the agent as it was, or begin a new episode",
                code="agent-changed",
            )
        for event in events:
            pending = self.view.open.get(event.payload.get("call", -1)) if event.kind == "observed" else None
            if pending is not None and world is not None and pending.tool not in self.agent.tools.tools:
                world.step(Call(pending.tool, pending.arguments))
            self.view.add(event)
        self.seq = events[-1].seq + 1
        if world is not None and self.view.state and digest(world.state()) != self.view.state:
            raise StoreError(
                f"episode {self.id}: environment {world.name} is not in the state that was recorded: it has changed since",
                remedy="begin a new episode",
                code="state-differs",
            )
        if self.view.ended is None:
            self.lost = frozenset(self.view.open)
            self.note("resumed", {})
            try:
                await self.commit(driver)
            except Fenced:
                raise self._driven() from None

    def steered(self) -> None:
        """Somebody has appended: a person's word is taken in, and what was decided without it is not done. Raises
        Fenced where it was no word but another process that drives the episode."""
        before, self.pending, self.letters = self.pending, [], []
        before = [event for event in before if "letter" not in event.payload]  # they are still unread
        since = before[0].seq if before else self.seq
        if any(event.kind != "steered" for event in self.trail.read(self.id, since)):
            raise self._driven()
        self._fresh()
        for event in self.trail.read(self.id):
            self.view.add(event)
            self.seq = event.seq + 1
        watch, self.watch = self.watch, None
        ending = any(event.kind == "ended" for event in before)
        for event in before:
            if event.kind in ("observed", "warned", "resumed") or (event.kind == "learned" and not ending):
                self.note(event.kind, event.payload)
            elif event.kind == "said":
                kept = ("thought", "usage", "reply", "request")
                self.note(
                    "said", {"withdrawn": True, **{key: event.payload[key] for key in kept if key in event.payload}}
                )
        self.watch = watch

    def _driven(self) -> Fenced:
        return Fenced(
            f"episode {self.id} is driven by another process",
            remedy=f"watch it there, or pause it first: rung agent pause {self.id}",
        )
