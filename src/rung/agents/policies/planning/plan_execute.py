"""Plan, then do: what needs nothing of one another side by side; a step that fails makes a new plan (Wang et al. 2023,
arXiv:2305.04091)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from rung.agents.loop.move import Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.planning.plan import PlanStep, mistakes, read_plan, ready, schema, write_plan
from rung.agents.policies.transcript import ask, listed, needed, opening, shown
from rung.core.protocols import Model
from rung.core.types import Message, ResponseFormat, Sampling

_PLAN = (
    "Write a plan as JSON: steps that each call one tool. `needs` are the ids of steps that must be done before; ${ID} in an "
    "argument stands for what step ID gave.\n\nTools:\n"
)


@dataclass(frozen=True)
class PlanExecute:
    """``plans`` may be given, one for the beginning and one for each new beginning; without any the model writes them.
    A failed step leads to a new plan, ``replans`` times at most; what was done stays done."""

    name: ClassVar[str] = "plan_execute"

    model: Model | None = None
    plans: tuple[Any, ...] = ()
    replans: int = 2
    sampling: Sampling = Sampling(max_tokens=512)

    async def decide(self, view: View) -> Decision:
        at = next((at for at in reversed(range(len(view.turns))) if view.turns[at].plan is not None), None)
        made = sum(turn.plan is not None for turn in view.turns)
        if at is None:
            return await self._plan(view, 0, "")
        steps = read_plan(view.turns[at].plan)
        results, failed = self._results(view, at, steps)
        wrong = mistakes(steps, view.complaint)
        if wrong or failed:
            why = "; ".join(wrong or failed)
            if made > self.replans:
                return finish(None, f"{made} plans have failed, no more are made: {why}")
            return await self._plan(view, made, why)
        todo = ready(steps, results)
        if not todo:
            return finish(results[steps[-1].id], "every step of the plan is done")
        names = ", ".join(step.id for step in todo)
        return Decision(
            tuple(step.call(results, view.complaint) for step in todo), thought=f"step{'s' * (len(todo) > 1)} {names}"
        )

    @staticmethod
    def _results(view: View, at: int, steps: tuple[PlanStep, ...]) -> tuple[dict[str, str], list[str]]:
        """What each step of the plan gave, and the steps that failed: the turns since then are its rounds."""
        results: dict[str, str] = {}
        failed = []
        for turn in view.turns[at + 1 :]:
            if not turn.calls:  # a decision that was taken back
                continue
            for step, call in zip(ready(steps, results), turn.calls, strict=False):
                results[step.id] = call.text or ""
                if call.refused:
                    failed.append(f"step {step.id} failed: {call.text}")
        return results, failed

    async def _plan(self, view: View, number: int, why: str) -> Decision:
        thought = f"a new plan, for {why}" if why else "a plan"
        if self.plans:
            if number >= len(self.plans):
                return finish(None, f"there is no other plan: {why}")
            return Decision(plan=write_plan(read_plan(self.plans[number])), thought=thought)
        first = opening(view, "You plan.")
        done = "\n".join(shown(turn) for turn in view.turns if turn.calls)
        words = (
            f"{_PLAN}{listed(view.tools)}"
            + (f"\n\nDone so far:\n{done}" if done else "")
            + (f"\n\nMend this: {why}" if why else "")
        )
        form = ResponseFormat("json", schema=schema(view.tools))
        said = (*first[:-1], Message("user", f"{first[-1].content}\n\n{words}"))
        reply, request = await ask(view, needed(self.model, self.name), said, self.sampling, offer=form)
        try:
            steps = write_plan(read_plan(json.loads(reply.text)))
        except ValueError as error:
            return finish(None, f"the model wrote no plan: {error}")
        return Decision(plan=steps, thought=thought, request=request, reply=reply.text)

    async def conclude(self, view: View) -> Any:
        """What the last step that was done gave."""
        return view.last_result
