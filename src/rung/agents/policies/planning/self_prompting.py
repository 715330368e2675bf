"""Self-prompting: each step the model acts and writes the prompt of its next step (as AutoGPT does), until it says that
the goal is reached, a limit ends it, or it goes round in circles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.calls.call import one_of
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.transcript import ask, listed, opening, shown
from rung.core.protocols import Model
from rung.core.types import Message, ResponseFormat, Sampling, ToolSpec

_HOW = (
    "You work towards a goal on your own. Each time, choose one tool for what the prompt asks (or `finish`), give its arguments "
    "(to finish: {{output: ...}}), and write the prompt that you want to be given next.\n\nTools:\n{tools}\n\nGoal: {goal}"
)


@dataclass(frozen=True)
class SelfPrompting:
    """One constrained reply a step: tool, arguments, and the next prompt, which is the plan in the trace. The last
    ``memory`` steps are shown again."""

    name: ClassVar[str] = "self_prompting"

    model: Model
    memory: int = 3
    sampling: Sampling = Sampling(max_tokens=256)

    async def decide(self, view: View) -> Decision:
        prompt = view.plan["prompt"] if view.plan else "What is the first thing to do?"
        system, _ = opening(view, _HOW.format(tools=listed(view.tools), goal=view.request))
        heard = [text for text in view.said if text != view.request]
        past = [shown(turn) for turn in view.turns[-self.memory :]] if self.memory else []
        asked = Message("user", "\n\n".join(part for part in (*past, *heard, prompt) if part))
        form = ResponseFormat("json", schema=self._schema(view))
        reply, request = await ask(view, self.model, (system, asked), self.sampling, offer=form)
        try:
            said = json.loads(reply.text)
            tool, arguments, after = str(said["tool"]), dict(said["arguments"]), str(said["next"])
        except (ValueError, KeyError, TypeError):
            return Decision(plan={"prompt": prompt}, thought="the reply was no step", request=request, reply=reply.text)
        if tool == "finish":
            move = finish(arguments.get("output"), prompt)
            return Decision(finished=True, output=move.output, thought=prompt, request=request, reply=reply.text)
        return Decision(
            (Call(tool, arguments),), plan={"prompt": after}, thought=prompt, request=request, reply=reply.text
        )

    @staticmethod
    def _schema(view: View) -> dict[str, Any]:
        answer = {"type": "object", "properties": {"output": {"type": ["string", "number"]}}, "required": ["output"]}
        end = ToolSpec("finish", "", answer)
        return {"anyOf": one_of([*view.tools, end], {}, {"next": {"type": "string", "maxLength": 200}})}

    async def conclude(self, view: View) -> Any:
        """The last result."""
        return view.last_result
