"""A critic at the end: what another policy wants to finish with is looked at first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung.agents.loop.move import AgentPolicy, Call, Concluding, Decision, Spent
from rung.agents.loop.view import View
from rung.agents.policies.given.scripted import Scripted
from rung.agents.policies.transcript import ask
from rung.core.codec import digest, encode, spell
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.text.pattern import compile_pattern
from rung.core.types import Message, Sampling, ScoreRequest

_RIGHT, _WRONG = "right", "wrong"


@dataclass(frozen=True)
class Reviewed:
    """``inner`` decides; its output is shown to the tool ``critic`` (a member of the team, a function of one text), or,
    without one, judged by ``model``. What begins as ``accepts`` says is accepted; anything else is told to ``inner``,
    which goes on, ``rounds`` times at most: then its output stands, and the trace says that it was objected to."""

    name: ClassVar[str] = "reviewed"

    inner: AgentPolicy
    critic: str = ""
    model: Model | None = None
    rounds: int = 2
    accepts: str = r"(?i)^\s*(?:ok|yes|good|right|accept)"
    sampling: Sampling = Sampling(max_tokens=96)

    def __post_init__(self) -> None:
        compile_pattern(self.accepts)
        if self.rounds < 0:
            raise InputError(f"got rounds {self.rounds}", remedy="expected 0 or more")
        if not self.critic and self.model is None:
            raise InputError("nobody reviews", remedy="name a tool (critic: NAME) or a model (-m)")
        if isinstance(self.inner, Scripted):
            raise InputError("given calls cannot heed a critic", remedy="review another policy")

    async def decide(self, view: View) -> Decision:
        last = view.turns[-1] if view.turns else None
        mine = [turn for turn in view.turns if isinstance(turn.plan, dict) and "proposed" in turn.plan]
        heard: list[str] = []
        if last is not None and mine and mine[-1] is last:
            said = last.calls[0].text or "" if last.calls else last.plan["objection"]
            if last.calls and compile_pattern(self.accepts).search(said):
                return Decision(finished=True, output=last.plan["proposed"], thought="accepted by the critic")
            if len(mine) > self.rounds:
                return Decision(finished=True, output=last.plan["proposed"], thought=f"not accepted: {said}")
            heard = [f"Not accepted: {said}"]
        move = await self.inner.decide(self._inside(view, heard))
        return await self._review(view, move) if move.finished and move.output is not None else move

    def _inside(self, view: View, heard: list[str]) -> View:
        """The episode as ``inner`` sees it: without the critic, but for what it said."""
        tools = tuple(tool for tool in view.tools if tool.name != self.critic)
        turns = [turn for turn in view.turns if not (isinstance(turn.plan, dict) and "proposed" in turn.plan)]
        plan = next((turn.plan for turn in reversed(turns) if turn.plan is not None), None)
        return replace(view, tools=tools, turns=turns, plan=plan, said=[*view.said, *heard])

    async def _review(self, view: View, move: Decision) -> Decision:
        shown = f"Request: {view.request}\nAnswer: {spell(move.output)}"
        if self.critic:
            spec = next((tool for tool in view.tools if tool.name == self.critic), None)
            names = list(spec.schema.get("properties", ())) if spec is not None else []
            if len(names) != 1:
                raise InputError(
                    f"there is no tool {self.critic!r} that takes one text",
                    remedy="name a member of the team as critic",
                )
            call = Call(self.critic, {names[0]: shown})
            return replace(move, calls=(call,), finished=False, output=None, plan={"proposed": move.output})
        objection, request = await self._judge(view, shown)
        if not objection:
            return replace(move, thought=f"{move.thought} (accepted)".strip())
        plan = {"proposed": move.output, "objection": objection}
        return replace(move, finished=False, output=None, plan=plan, thought=objection, request=request)

    async def _judge(self, view: View, shown: str) -> tuple[str, str]:
        """The model's objection, empty where it takes the answer to be right."""
        assert self.model is not None
        asked = (Message("user", f"{shown}\n\nIs the answer right or wrong? Say one word."),)
        allowance = view.limits.allowance(view)
        if allowance is not None and self.model.count(asked) > allowance:
            raise Spent("tokens")
        weighed = ScoreRequest(asked, (_RIGHT, _WRONG))
        scores = (await self.model.score([weighed]))[0]
        if scores.best == 0:
            return "", ""
        why = (Message("user", f"{shown}\n\nThe answer is wrong. Say in one sentence what is wrong with it."),)
        reply, request = await ask(view, self.model, why, self.sampling)
        return reply.text.strip() or "it is wrong", digest([encode(weighed), request])

    async def conclude(self, view: View) -> Any:
        """What was proposed last, or what ``inner`` concludes with."""
        for turn in reversed(view.turns):
            if isinstance(turn.plan, dict) and "proposed" in turn.plan:
                return turn.plan["proposed"]
        return await self.inner.conclude(self._inside(view, [])) if isinstance(self.inner, Concluding) else None
