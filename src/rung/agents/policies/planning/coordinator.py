"""A coordinator: tasks are given to members of a team, kept track of, and given to somebody else where one fails."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung.agents.calls.shortlist import lexical
from rung.agents.loop.move import Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.planning.plan import PlanStep, mistakes, ready
from rung.agents.policies.transcript import ask, listed, needed, opening
from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.protocols import Model
from rung.core.types import Message, ResponseFormat, Sampling, ToolSpec

_PLAN = (
    "Split the request into tasks for the members below, as JSON. `needs` are the ids of tasks that must be done before; ${ID} in a "
    "task stands for what task ID gave.\n\nMembers:\n"
)
_MOST = 12


@dataclass(frozen=True)
class Coordinator:
    """``tasks`` are given, each {task, to, id, needs}, or written by the model; without both, the whole request is one
    task. Whom a task is not ``to``, it is given to whose description shares most words with it. A member that fails is
    passed over: ``reassign`` times a task goes to somebody else. Who has which task stands in the trace with every
    decision. The output is what the last task gave, or, with ``summary``, what the model makes of all."""

    name: ClassVar[str] = "coordinator"

    model: Model | None = None
    tasks: tuple[Mapping[str, Any], ...] = ()
    reassign: int = 2
    summary: bool = False
    sampling: Sampling = Sampling(max_tokens=384)

    def __post_init__(self) -> None:
        for task in self.tasks:
            if not isinstance(task.get("task"), str):
                raise InputError(
                    f"a task is {dict(task)!r}", remedy="write {task: WORDS, to: MEMBER, id: ID, needs: [ID]}"
                )
        if self.reassign < 0:
            raise InputError(f"got reassign {self.reassign}", remedy="expected 0 or more")

    async def decide(self, view: View) -> Decision:
        members = [tool for tool in view.tools if set(tool.schema.get("properties", ())) == {"request"}]
        if not members:
            raise InputError("the coordinator has no team", remedy="write team: {NAME: FILE, ...} into the agent file")
        reply = request = ""
        results: dict[str, str] = {}
        if view.plan is None:
            given, reply, request = await self._split(view, members)
            board: list[dict[str, Any]] = [{"state": "open", "tried": [], **task} for task in given]
            wrong = mistakes([_step(task, members[0].name) for task in board], lambda _: "")
            if wrong:
                return replace(finish(None, f"the tasks cannot be done: {'; '.join(wrong)}"), reply=reply)
        else:
            board, results = self._track(view)
            lost = next((task for task in board if task["state"] == "failed"), None)
            if lost is not None:
                return finish(None, f"nobody could do task {lost['id']}: {lost['why']}")
            if all(task["state"] == "done" for task in board):
                return await self._finish(view, board, results)
        steps = {task["id"]: _step(task, "") for task in board}
        now = []
        for step in ready(list(steps.values()), results):
            task = next(task for task in board if task["id"] == step.id)
            task |= {"to": self._choose(task, members), "state": "given"}
            now.append(step.id)
        calls = tuple(
            replace(steps[id], tool=task["to"]).call(results) for id in now for task in board if task["id"] == id
        )
        who = ", ".join(f"{task['id']} to {task['to']}" for task in board if task["id"] in now)
        return Decision(calls, plan={"tasks": board, "now": now}, thought=f"given: {who}", request=request, reply=reply)

    def _track(self, view: View) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The board after what has come back, and what each task that is done gave."""
        results: dict[str, str] = {}
        for turn in view.turns:
            if turn.plan is not None and turn.calls:
                for id, call in zip(turn.plan["now"], turn.calls, strict=True):
                    if call.text is not None and not call.refused:
                        results[id] = call.text
        last = next((turn for turn in reversed(view.turns) if turn.plan is not None and turn.calls), None)
        refused = dict(zip(last.plan["now"], last.calls, strict=True)) if last is not None else {}
        board = []
        for task in view.plan["tasks"]:
            task = dict(task)
            if task["id"] in results:
                task["state"] = "done"
            elif task["state"] == "given":
                what = refused.get(task["id"])
                if what is not None and what.refused:
                    tried = [*task["tried"], task["to"]]
                    task |= {"tried": tried, "why": what.text}
                    task["state"] = "open" if len(tried) <= self.reassign else "failed"
                else:  # the decision was taken back
                    task["state"] = "open"
            board.append(task)
        return board, results

    @staticmethod
    def _choose(task: Mapping[str, Any], members: Sequence[ToolSpec]) -> str:
        """Whom it is for, unless that one was tried; else the best by words of those who were not, else of all."""
        fresh = [member for member in members if member.name not in task["tried"]] or list(members)
        if task.get("to") in {member.name for member in fresh}:
            return str(task["to"])
        scores = lexical(task["task"], fresh)
        return fresh[max(range(len(fresh)), key=lambda at: scores[at])].name

    async def _split(self, view: View, members: Sequence[ToolSpec]) -> tuple[list[dict[str, Any]], str, str]:
        if self.tasks or self.model is None:
            names = [member.name for member in members]
            for unknown in (str(task["to"]) for task in self.tasks if task.get("to") and task["to"] not in names):
                raise InputError(f"there is no member {unknown!r} to give a task to", remedy=nearest(unknown, names))
            given = self.tasks or ({"task": view.request},)
            return [{**task, "id": str(task.get("id") or at)} for at, task in enumerate(given, 1)], "", ""
        first = opening(view, "You lead a team.")
        form = ResponseFormat("json", schema=_schema([member.name for member in members]))
        said = (*first[:-1], Message("user", f"{first[-1].content}\n\n{_PLAN}{listed(members)}"))
        reply, request = await ask(view, self.model, said, self.sampling, offer=form)
        try:
            given = tuple(json.loads(reply.text)["tasks"])
        except (ValueError, KeyError, TypeError):
            given = ({"task": view.request},)  # cut short: the whole is one task
        return [{**task, "id": str(task.get("id") or at)} for at, task in enumerate(given, 1)], reply.text, request

    async def _finish(self, view: View, board: Sequence[Mapping[str, Any]], results: Mapping[str, str]) -> Decision:
        if not self.summary:
            return finish(results[board[-1]["id"]], "every task is done")
        first = opening(view, "You lead a team. Answer the request from what its members found.")
        found = "\n\n".join(f"{task['task']}\n{results[task['id']]}" for task in board)
        said = (*first[:-1], Message("user", f"{first[-1].content}\n\n{found}"))
        reply, request = await ask(view, needed(self.model, self.name), said, self.sampling)
        return replace(finish(reply.text.strip(), "every task is done"), request=request, reply=reply.text)

    async def conclude(self, view: View) -> Any:
        """What the last task that was done gave."""
        return view.last_result


def _step(task: Mapping[str, Any], to: str) -> PlanStep:
    return PlanStep(
        task["id"], task.get("to") or to, {"request": task["task"]}, tuple(map(str, task.get("needs") or ()))
    )


def _schema(names: Sequence[str]) -> dict[str, Any]:
    text = {"type": "string"}
    task = {
        "type": "object",
        "properties": {
            "id": text,
            "task": {"type": "string", "maxLength": 300},
            "to": {"type": "string", "enum": list(names)},
            "needs": {"type": "array", "items": text, "maxItems": _MOST},
        },
        "required": ["id", "task", "to", "needs"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task, "minItems": 1, "maxItems": _MOST}},
        "required": ["tasks"],
        "additionalProperties": False,
    }
