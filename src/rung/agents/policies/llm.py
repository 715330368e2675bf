"""A language model decides: it sees the tools and calls them until it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from rung.agents.calls.call import Staging, can_stage
from rung.agents.calls.seen import unseen
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.memory.short import Window
from rung.agents.policies.staged import decide_staged, sources
from rung.agents.policies.transcript import ask, messages, opening
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Message, Sampling

INSTRUCTION = "Do what is asked. Use the tools; when you know the answer or all is done, answer in a sentence."
_CLOSING = "No more tools can be used. Answer now as well as you can, in a sentence."


@dataclass(frozen=True)
class Llm:
    """Offers the tools (ReAct: Yao et al. 2023); a reply without a call is the output. ``calls`` says how: in the
    model's own way (``native``), or in stages (``staged``); ``auto`` is staged for a model that computes here, scores
    and decodes JSON under a
    schema: a small one that may answer instead hardly ever calls by itself. ``window``: what of a long episode stands
    in a prompt."""

    name: ClassVar[str] = "llm"

    model: Model
    instruction: str = INSTRUCTION
    sampling: Sampling = Sampling(max_tokens=256)
    calls: Literal["auto", "native", "staged"] = "auto"
    staging: Staging = field(default_factory=Staging)
    window: Window = Window()

    def __post_init__(self) -> None:
        if self.calls == "staged" and not can_stage(self.model):
            raise InputError(
                f"{self.model.name} cannot call in stages: it must score labels and decode JSON under a schema",
                remedy="write calls: native",
            )
        if self.calls not in ("auto", "native", "staged"):
            raise InputError(f"got calls: {self.calls!r}", remedy="one of auto, native, staged")

    @property
    def staged(self) -> bool:
        return self.calls == "staged" or (
            self.calls == "auto" and self.model.capabilities.local and can_stage(self.model)
        )

    async def decide(self, view: View) -> Decision:
        sampling = replace(self.sampling, seed=(self.sampling.seed or 0) + view.seed)
        if self.staged and view.tools:
            decision = await decide_staged(view, self.model, self.staging, self.instruction, sampling, self.window)
            if decision is not None:
                return decision
        said = self._messages(view)
        reply, request = await ask(view, self.model, said, sampling, offer=() if self.staged else view.tools)
        if reply.finish == "error":  # no call that can be read
            return Decision(thought=reply.text, request=request)
        if reply.tool_calls:
            calls = tuple(Call(call.name, dict(call.arguments)) for call in reply.tool_calls)
            known = {tool.name: tool.schema for tool in view.tools}
            shown = sources(view, self.instruction)
            strange = [why for call in calls if (why := unseen(known.get(call.tool, {}), call.arguments, shown))]
            if strange:  # nothing leaves that names what was never seen
                return Decision(thought=" ".join(strange), request=request, reply=reply.text)
            return Decision(calls, thought=reply.text.strip(), request=request)
        return replace(finish(reply.text.strip()), request=request, reply=reply.text)

    async def conclude(self, view: View) -> Any:
        """The answer in a sentence; where the world has ended by itself nobody waits for one: what it said last."""
        if view.done:
            return view.last_result
        said = self._messages(view)
        reply, _ = await ask(view, self.model, (*said, Message("user", _CLOSING)), self.sampling, closing=True)
        return reply.text.strip() or None

    def _messages(self, view: View) -> tuple[Message, ...]:
        return messages(view, opening(view, self.instruction), self.model, self.sampling.max_tokens, self.window)
