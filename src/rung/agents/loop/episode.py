"""The loop: look, decide, write down, act. One for a thermostat and for a language model.

Each turn's decision and calls are in the trail before the first call is made. So after a crash no decision is asked for
again, and a call without a result is made again where its effect allows that, with the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rung.agents.environments.environment import Observation
from rung.agents.loop.guard.guarded import GuardedLog
from rung.agents.loop.move import Call, Concluding, Decision, Spent, Waits
from rung.agents.loop.toolset import clean
from rung.agents.loop.view import Pending, View, signature
from rung.core.codec import digest, encode, spell
from rung.core.parts.meter import metered
from rung.core.parts.place import here
from rung.core.types import Usage
from rung.core.types.trail import Driver, Fenced, ToolCaller, calling


@dataclass(frozen=True, slots=True)
class Start:
    """What an episode begins with; ``user``: whose memory it reads and writes. ``lessons``: known already, in place of
    what the memory recalls. ``converses``: an output is an answer, after which it waits for the next message."""

    request: str = ""
    scenario: str = ""
    seed: int = 0
    parent: str = ""
    user: str = ""
    lessons: tuple[Mapping[str, Any], ...] | None = None
    converses: bool = False


class Episode(GuardedLog):
    """One episode of an agent; ``run`` goes on from wherever the trail is."""

    async def run(self, start: Start) -> View:
        """Go on until the episode has ended, is paused or waits for a person. Raises Fenced when another process drives
        it, StoreError and what the model raises as they are: then nothing is lost, and another ``run`` goes on."""
        await self._open(start)
        with self.guarding():
            while not (self.leave or self.view.paused or self.view.ended is not None):
                view = self.view
                try:
                    if view.open and view.unknown is None and not view.child:  # also beside a question
                        await self._act()
                    elif view.waiting:
                        if self.now() < view.expires:
                            break
                        await self._conclude(self.lapse())
                    else:
                        await (self.settle() if view.held else self._turn())
                except Fenced:
                    self.steered()
        await self.commit()
        return self.view

    async def _open(self, start: Start) -> None:
        events = self.trail.read(self.id)
        self.agent, shown = self.agent.enter(start.scenario, start.seed)
        agent = self.agent
        self._fresh()
        request = start.request or (shown.text if shown is not None else "")
        driver = Driver(agent.identity, request, start.parent)
        if events:
            self.inherit(events[0].payload)
            await self.resume(events, driver)
            return
        lessons = start.lessons
        if lessons is None:
            lessons = self.recalled(start.user, request)
        begun: dict[str, Any] = {
            "request": request,
            "scenario": start.scenario,
            "seed": start.seed,
            "parent": start.parent,
        }
        if start.converses:
            begun["converses"] = True
        if (folder := here().folder) is not None:
            begun["folder"] = str(folder.absolute())
        begun |= {"user": start.user} if start.user else {}
        begun |= self.inherit()
        self.note("begun", {**begun, "agent": agent.identity, "spec": agent.spec, "lessons": list(lessons)})
        if shown is not None:
            self._observe(shown, None)
        await self.commit(driver)

    async def receive(self) -> None:
        """What has come by letter is seen before the next decision, and read when that is in the trail."""
        for letter in self.trail.mail.unread(self.agent.mailbox):
            about = f" ({letter.topic})" if letter.topic else ""
            text = clean(f"{letter.sender}{about} writes: {letter.text}", self.agent.limits.bytes)
            self.letters.append(letter.id)
            self.note("observed", {"text": text, "letter": letter.id, "trust": "untrusted"})
        await self.commit()

    async def _turn(self) -> None:
        view, limits = self.view, self.agent.limits
        if self.agent.mailbox:
            await self.receive()
        stop = view.stopped or limits.reached(view) or ("world" if view.done else "")
        if not stop and limits.loops and view.repeats.found:
            stop = self._warn(view.repeats.found)
        with metered() as meter:
            try:
                move = None if stop else await self.agent.policy.decide(view)
            except Spent as spent:
                move, stop = None, spent.limit
        if move is None:
            await self._conclude(stop)
            return
        said = self._say(move, meter.total)
        if move.finished and view.converses:
            self.note("asked", {"text": "" if move.output is None else spell(move.output), "reply": True})
            await self.commit()
            return
        if move.finished:
            await self._end(move.output, "")
            return
        if view.masked and any((signature(c.tool, c.arguments), view.state) in view.masked for c in move.calls):
            await self._conclude("loop")
            return
        self.place(move.calls, said)
        if move.ask:
            self.note("asked", {"text": move.ask, **self.deadline()})
        await self.commit()

    def _say(self, move: Decision, usage: Usage) -> int:
        said: dict[str, Any] = {
            name: value
            for name in ("thought", "plan", "ask", "request", "reply")
            if (value := getattr(move, name)) not in ("", None)
        }
        if usage != Usage():
            said["usage"] = encode(usage)
        if move.finished:
            said["output"] = move.output
        seq = self.note("said", said)
        for lesson in move.learned:
            self.note("learned", {"evidence": seq, **lesson})
        return seq

    def _warn(self, found: str) -> str:
        """A first loop is told, a second one's last call is refused from now on, a third ends the episode."""
        view = self.view
        view.repeats.found = ""
        if view.warned >= 2:
            return "loop"
        text = f"You are going round in circles: {found}. Do something else, or finish."
        last = view.turns[-1].calls[-1] if view.turns and view.turns[-1].calls else None
        mask = [signature(last.tool, last.arguments), view.state] if view.warned and last else None
        self.note("warned", {"what": "loop", "text": text, **({"mask": mask} if mask else {})})
        return ""

    async def _act(self) -> None:
        """Make the open calls: those without effects, and of other agents, side by side, the others one after
        another."""
        calls, tools = list(self.view.open.values()), self.agent.tools
        try:
            if len(calls) > 1 and all(tools.effect(call.tool) == "pure" or call.tool in tools.asking for call in calls):
                made = (self._make(call, len(calls)) for call in calls)
                wrong: BaseException | None = None
                for call, shown in zip(calls, await asyncio.gather(*made, return_exceptions=True), strict=True):
                    if isinstance(shown, BaseException):
                        wrong = wrong or shown
                    else:
                        self._observe(shown, call.seq)
                if wrong is not None:
                    raise wrong
            else:
                await self._one_by_one(calls)
        except Waits as waits:
            self.note("asked", {"text": waits.text, "child": waits.child})
            await self.commit()

    async def _one_by_one(self, calls: Sequence[Pending]) -> None:
        tools = self.agent.tools
        for call in calls:
            if call.seq in self.lost and tools.effect(call.tool) == "once":
                known = await tools.probe(call.tool, call.key)
                if known is None:
                    self.note(
                        "asked",
                        {
                            "text": f"Was {call.tool} {dict(call.arguments)} done? Its outcome is not known.",
                            "call": call.seq,
                        },
                    )
                    await self.commit()
                    return
                self._observe(Observation(known), call.seq)
            else:
                self._observe(await self._make(call), call.seq)

    async def _make(self, call: Pending, share: int = 1) -> Observation:
        """What a call gives. Who asks models within it may use its ``share`` of what the limits leave."""
        made, agent = Call(call.tool, call.arguments), self.agent
        if call.tool not in agent.tools.asking:
            return await agent.tools.call(made, call.key, agent.environment, agent.limits.wait)
        left = agent.limits.allowance(self.view)
        who = ToolCaller(self.trail, self.id, call.key, None if left is None else left // share, agent.mailbox)
        with calling(who), metered() as meter:
            shown = await agent.tools.call(made, call.key, agent.environment, agent.limits.wait)
        return replace(shown, usage=meter.total) if meter.total != Usage() else shown

    def _observe(self, shown: Observation, call: int | None, refused: Call | None = None) -> None:
        seen: dict[str, Any] = {"text": clean(shown.text, self.agent.limits.bytes)}
        if call is not None:
            seen["call"] = call
        if refused is not None:
            seen |= {"tool": refused.tool, "arguments": refused.arguments}
        if shown.value is not None:
            seen["value"] = shown.value
        for name, usual in (("refused", False), ("done", False), ("reward", 0.0), ("trust", "trusted")):
            if (value := getattr(shown, name)) != usual:
                seen[name] = value
        if shown.usage != Usage():
            seen["usage"] = encode(shown.usage)
        if self.agent.environment is not None:
            seen["state"] = digest(self.agent.environment.state())
        self.note("observed", seen)

    async def _conclude(self, stopped: str) -> None:
        """End before the policy wanted to, with the best output that it has."""
        policy, output = self.agent.policy, None
        if isinstance(policy, Concluding):
            with metered() as meter, suppress(Spent):
                output = await policy.conclude(self.view)
            self._say(Decision(thought="The episode ends here.", finished=True, output=output), meter.total)
        await self._end(output, stopped)

    async def _end(self, output: Any, stopped: str) -> None:
        world, first = self.agent.environment, next((turn.plan for turn in self.view.turns if turn.plan), None)
        verdict = encode(self.counted(world.judge(output, first))) if world is not None else None
        for lesson in self.agent.memory.keep(self.view, verdict) if self.agent.memory else ():
            self.note("learned", lesson)
        self.remember(verdict)
        self.note("ended", {"output": output, "stopped": stopped, "verdict": verdict})
        await self.commit()
