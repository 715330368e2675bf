"""What a workflow has done, in a trail: a step is written down before it is made, and what it gave after; neither is
asked for twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rung.core.codec import encode, spell
from rung.core.errors import RungError
from rung.core.parts.meter import metered, report
from rung.core.protocols import Effect
from rung.core.types import Usage
from rung.core.types.trail import Driver, Event, Fenced, Kind, ToolCaller, Trail, calling

SHOWN = 400
"""Characters of a value that a trace shows."""

Make = Callable[[str], Awaitable[Any]]
"""Makes a step under its key."""


class StepFailed(RungError):
    """A step did not give what it should."""

    code = "step-failed"


class Halted(RungError):
    """A person has paused or stopped the workflow, or must decide something; ``do`` says which: pause, stop or wait."""

    code = "halted"

    def __init__(self, message: str, do: str) -> None:
        super().__init__(message)
        self.do = do


class FlowLog:
    """The events of one run of a workflow; ``watch`` is told of each. With ``leave`` no further step is begun; ``open``
    are those that are being made, with their effects."""

    def __init__(self, id: str, trail: Trail, watch: Callable[[Event], None] | None = None) -> None:
        self.id, self.trail, self.watch = id, trail, watch
        self.leave = False
        self.open: dict[str, Effect] = {}
        self.events: list[Event] = list(trail.read(id))
        self._lock = asyncio.Lock()
        self._begun: dict[str, Event] = {}
        self._done: dict[str, Event] = {}
        self._told: dict[int, str] = {}
        self._lost: set[str] = set()
        self._halt = ""
        paths: dict[int, str] = {}
        unknown: int | None = None
        for event in self.events:
            if event.kind == "called":
                paths[event.seq] = event.payload["tool"]
                self._begun[event.payload["tool"]] = event
            elif event.kind == "observed" and event.payload.get("call") in paths:
                self._done[paths[event.payload["call"]]] = event
            elif event.kind == "asked":
                unknown = event.payload.get("call")
            elif event.kind == "steered" and event.payload["do"] == "say" and unknown is not None:
                self._told[unknown] = event.payload.get("text", "")
            elif event.kind == "steered" and event.payload["do"] == "stop":
                self._halt = "stop"
        self._lost = {path for path in self._begun if path not in self._done}

    @property
    def ended(self) -> Event | None:
        """The event that ended it."""
        return self.events[-1] if self.events and self.events[-1].kind == "ended" else None

    async def note(self, kind: Kind, payload: Mapping[str, Any], driver: Driver | None = None) -> int:
        """The next event, in the trail when this returns. Raises Fenced where another process goes on with it, Halted
        where a person wants it to stop."""
        async with self._lock:
            while True:
                event = Event(self.id, len(self.events), kind, payload, time.time())
                try:
                    await self.trail.append([event], driver)
                    break
                except Fenced:
                    self._heed(self.trail.read(self.id, event.seq))
            self.events.append(event)
            if self.watch is not None:
                self.watch(event)
        if self._halt and kind in ("called", "observed"):
            raise Halted(f"it was told to {self._halt}", self._halt)
        return event.seq

    def _heed(self, others: list[Event]) -> None:
        """Take in what a person has appended. Raises Fenced where it was another process."""
        if not others or any(event.kind != "steered" for event in others):
            raise Fenced(
                f"workflow {self.id} is driven by another process",
                remedy=f"watch it there, or pause it first: rung agent pause {self.id}",
            )
        for event in others:
            self.events.append(event)
            self._halt = event.payload["do"] if event.payload["do"] in ("pause", "stop") else self._halt

    async def once(self, path: str, arguments: Mapping[str, Any], make: Make, *, effect: Effect = "keyed") -> Any:
        """What the step at ``path`` gives: read where it is in the trail, else made, and written down. Raises
        StepFailed where it was or is refused, Halted where nobody knows whether a step with effect "once" was done."""
        known = self._done.get(path)
        if known is not None:
            report(Usage(**known.payload.get("usage", {})))
            return self._value(path, known.payload)
        if self.leave:
            raise Halted("it was stopped", "pause")
        begun = self._begun.get(path)
        if begun is None:
            seq = await self.note("called", {"tool": path, "arguments": encode(arguments), "key": f"{self.id}-{path}"})
        else:
            seq = begun.seq
        if path in self._lost and effect == "once":
            if seq not in self._told:
                said = f"Was step {path} done? Its outcome is not known."
                await self.note("asked", {"text": said, "call": seq})
                raise Halted(said, "wait")
            return await self._observe(path, seq, {"value": self._told[seq]})
        key = f"{self.id}-{path}"
        with calling(ToolCaller(self.trail, self.id, key)), metered() as meter:
            self.open[path] = effect
            try:
                value = await make(key)
            except StepFailed as failed:
                seen: dict[str, Any] = {"refused": True, "text": failed.message}
            else:
                seen = {"value": encode(value)}
            finally:
                del self.open[path]
        if meter.total != Usage():
            seen["usage"] = encode(meter.total)
        return await self._observe(path, seq, seen)

    async def _observe(self, path: str, seq: int, seen: dict[str, Any]) -> Any:
        if "text" not in seen:
            text = spell(seen["value"])
            seen["text"] = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
        await self.note("observed", {"call": seq, **seen})
        return self._value(path, seen)

    def _value(self, path: str, seen: Mapping[str, Any]) -> Any:
        if seen.get("refused"):
            raise StepFailed(f"step {path} failed: {seen['text']}")
        return seen["value"]

    @property
    def usage(self) -> Usage:
        """What all steps have cost, also before a crash."""
        used = (Usage(**event.payload["usage"]) for event in self.events if "usage" in event.payload)
        return sum(used, Usage())
