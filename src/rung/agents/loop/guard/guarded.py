"""A call on its way from the decision to the tool: allowed, refused, or held until a person has decided about exactly
this call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from rung.agents.environments.environment import Assessing, Judgement
from rung.agents.loop.guard.guard import CallGuard, Ruling, stricter
from rung.agents.loop.guard.taint import records, strange
from rung.agents.loop.log import EpisodeLog
from rung.agents.loop.move import Call
from rung.agents.loop.toolset import clean
from rung.core.codec import decode, digest, encode

_guards: ContextVar[tuple[CallGuard, ...]] = ContextVar("rung_guards", default=())


def seal(tool: str, arguments: Mapping[str, Any], episode: str, seq: int) -> str:
    """What an approval is bound to: this call, asked about in this event of this episode."""
    return digest([tool, encode(arguments), episode, seq])[:16]


class GuardedLog(EpisodeLog):
    """Places calls. The guards of whoever began this episode hold here too."""

    inherited: tuple[CallGuard, ...] = ()

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Within the block, episodes that are begun are under this one's guards as well."""
        token = _guards.set(self.guards)
        try:
            yield
        finally:
            _guards.reset(token)

    @property
    def guards(self) -> tuple[CallGuard, ...]:
        own = (self.agent.guard,) if self.agent.guard is not None else ()
        return (*self.inherited, *own)

    def inherit(self, begun: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Take over the guards of the episode that begins this one, or those that its first event names; what that
        event is to say."""
        if begun is not None:
            self.inherited = tuple(decode(CallGuard, guard) for guard in begun.get("guards", ()))
        else:
            self.inherited = _guards.get()
        return {"guards": encode(list(self.inherited))} if self.inherited else {}

    def ruling(self, call: Call) -> Ruling:
        """What the guards say to a call; the strictest word counts."""
        found = Ruling("allow")
        for guard in self.guards:
            effect, schema = self.agent.tools.risk(call.tool)
            unknown = strange(self.view, guard.aims(call, schema)) if effect != "pure" else {}
            found = stricter(found, guard.rule(call, effect, unknown, lambda tool: records(self.view, tool)))
            if found.then == "ask" and self.view.asked >= guard.asks:
                found = Ruling("deny", f"{found.because}, and a person has been asked {self.view.asked} times already")
        return found

    def place(self, calls: Sequence[Call], said: int) -> None:
        """Write down of each call that it is made, refused, or, last, asked about."""
        held = [(call, because) for call in calls if (because := self._placed(call, said)) is not None]
        for call, because in held:
            self.hold(call, because)

    def _placed(self, call: Call, said: int) -> str | None:
        """Why a person must be asked about a call; None: it is made or refused."""
        limits, view = self.agent.limits, self.view
        over = view.calls.get(call.tool, 0) >= limits.calls.get(call.tool, 1 << 60)
        complaint = f"{call.tool} may not be called any more." if over else self.agent.tools.complaint(call)
        if complaint:
            self.refuse(call, said, complaint)
            return None
        then, because = self.ruling(call)
        if then == "ask":
            return because
        if then == "allow":
            self.make(call)
        else:
            self.refuse(
                call, said, f"The guard refuses {call.tool}: {because}. Do something else, or finish.", blocked=True
            )
        return None

    def make(self, call: Call, **more: Any) -> None:
        self.note("called", {"tool": call.tool, "arguments": call.arguments, "key": f"{self.id}-{self.seq}", **more})

    def hold(self, call: Call, because: str, **more: Any) -> None:
        """Ask a person about a call; ``digest`` is what their word is bound to."""
        shown = {"tool": call.tool, "arguments": encode(call.arguments), "because": because}
        shown["digest"] = seal(call.tool, call.arguments, self.id, self.seq)
        self.note(
            "asked", {"text": f"May {call.tool} be called? ({because})", "approve": shown, **self.deadline(), **more}
        )

    def deadline(self) -> dict[str, float]:
        """Until when a question waits."""
        patience = self.agent.limits.patience
        return {} if patience is None else {"expires": self.now() + patience}

    def refuse(self, call: Call, said: int, why: str, **more: Any) -> None:
        """What a call gives that is not made."""
        shown = {"text": clean(why, self.agent.limits.bytes), "refused": True, "call": said}
        state = {"state": digest(self.agent.environment.state())} if self.agent.environment is not None else {}
        self.note("observed", {**shown, "tool": call.tool, "arguments": call.arguments, **state, **more})

    async def settle(self) -> None:
        """Do what people have decided: each word once, and only about the very call that they were shown."""
        turn = self.view.turns[-1].seq
        for seq, held in list(self.view.held.items()):
            word = held.word or {}
            call, settled = Call(held.tool, held.arguments), {"settles": seq}
            if word.get("digest") != seal(held.tool, held.arguments, self.id, seq):
                self.hold(call, "it is not what was approved", **settled)
            elif word["do"] == "approve":
                self.make(call, **settled)
            elif word["do"] == "edit":
                self._edited(Call(held.tool, word["arguments"]), turn, word, settled)
            else:
                why = f": {word['why']}" if word.get("why") else "."
                self.refuse(
                    call, turn, f"{word.get('by') or 'A person'} refused {call.tool}{why}", blocked=True, **settled
                )
        await self.commit()

    def _edited(self, call: Call, turn: int, word: Mapping[str, Any], settled: Mapping[str, Any]) -> None:
        complaint = self.agent.tools.complaint(call)
        if complaint:
            self.refuse(call, turn, complaint, **settled)
        else:
            self.make(call, by=word.get("by", ""), **settled)

    def lapse(self) -> str:
        """Nobody has answered in time: what was held is not done. What the episode was stopped by."""
        stopped = "approval" if self.view.held else "question"
        for seq, held in list(self.view.held.items()):
            text = f"Nobody decided about {held.tool} in time: it was not done."
            self.refuse(Call(held.tool, held.arguments), self.view.turns[-1].seq, text, settles=seq)
        return stopped

    def counted(self, judgement: Judgement) -> Judgement:
        """An environment's verdict with what was blocked: harm that was tried, and what would have done none."""
        world: object = self.agent.environment
        blocked = self.view.blocked
        if not blocked or not isinstance(world, Assessing):
            return judgement
        harms = [(tool, world.harm(Call(tool, arguments))) for tool, arguments in blocked]
        return replace(
            judgement,
            blocked=tuple(tool for tool, _ in harms),
            false_blocks=tuple(tool for tool, harm in harms if not harm),
            attempted=(*judgement.attempted, *(f"blocked: {harm}" for _, harm in harms if harm)),
        )
