"""A language model decides: it sees the tools and calls them in its own way, until it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.transcript import ask, messages
from rung.core.protocols import Model
from rung.core.types import Message, Sampling

INSTRUCTION = "Do what is asked. Use the tools; when you know the answer or all is done, answer in a sentence."
_CLOSING = "No more tools can be used. Answer now as well as you can, in a sentence."


@dataclass(frozen=True)
class Llm:
    """Offers the tools in the model's own way of calling them (ReAct: Yao et al. 2023); a reply without a call is the output."""

    name: ClassVar[str] = "llm"

    model: Model
    instruction: str = INSTRUCTION
    sampling: Sampling = Sampling(max_tokens=256)

    async def decide(self, view: View) -> Decision:
        said = messages(view, self.instruction, self.model, self.sampling.max_tokens)
        sampling = replace(self.sampling, seed=(self.sampling.seed or 0) + view.seed)
        reply, request = await ask(view, self.model, said, sampling, offer=view.tools)
        if reply.finish == "error":  # no call that can be read
            return Decision(thought=reply.text, request=request)
        if reply.tool_calls:
            calls = tuple(Call(call.name, dict(call.arguments)) for call in reply.tool_calls)
            return Decision(calls, thought=reply.text.strip(), request=request)
        return replace(finish(reply.text.strip()), request=request, reply=reply.text)

    async def conclude(self, view: View) -> Any:
        said = messages(view, self.instruction, self.model, self.sampling.max_tokens)
        reply, _ = await ask(view, self.model, (*said, Message("user", _CLOSING)), self.sampling, closing=True)
        return reply.text.strip() or None
