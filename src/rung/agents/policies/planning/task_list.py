"""A task list: do the first, add what that calls for, put in order again, until nothing is left (as BabyAGI does)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rung.agents.calls.call import one_of
from rung.agents.environments.environment import Listing
from rung.agents.loop.move import Call, Decision, finish
from rung.agents.loop.view import View
from rung.agents.policies.transcript import ask, listed, needed, opening, shown
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Message, ResponseFormat, Sampling

Task = Mapping[str, Any]


@dataclass(frozen=True)
class TaskList:
    """The list is written into the trace with every decision, so that it outlives the process; a task that is there or
    was done is not taken in again, and at most ``most`` are.

    ``order``: "fifo" as they came, "due" by deadline, "worth" by worth for the time, "model" as the model puts them.
    Tasks come from the environment where its domain lists them, else from the model.
    """

    name: ClassVar[str] = "task_list"

    model: Model | None = None
    order: Literal["fifo", "due", "worth", "model"] = "due"
    most: int = 30
    sampling: Sampling = Sampling(max_tokens=384)

    async def decide(self, view: View) -> Decision:
        held = view.plan or {"tasks": [], "done": []}
        tasks, done = list(held["tasks"]), list(held["done"])
        reply = request = ""
        fresh: Sequence[Task]
        if isinstance(view.domain, Listing):
            fresh = view.domain.tasks(view.percept)
        elif view.plan is None or tasks:
            fresh, reply, request = await self._ask(view, tasks, done)
        else:
            fresh = []
        tasks = self._order(self._merge(tasks, done, fresh), fresh)
        if not tasks:
            return finish(view.last_result, "nothing is left on the list")
        first, rest = tasks[0], tasks[1:]
        plan = {"tasks": rest, "done": [*done, first["task"]]}
        call = first.get("call")
        calls = (Call(call["tool"], call["arguments"]),) if call else ()
        return Decision(calls, plan=plan, thought=f"{first['task']} ({len(rest)} left)", request=request, reply=reply)

    def _merge(self, tasks: Sequence[Task], done: Sequence[str], fresh: Sequence[Task]) -> list[Task]:
        known = {_key(task["task"]): task for task in tasks}
        past = {_key(name) for name in done}
        for task in fresh:
            key = _key(task["task"])
            if key not in past and (key in known or len(known) + len(past) < self.most):
                known.setdefault(key, task)
        return list(known.values())

    def _order(self, tasks: list[Task], fresh: Sequence[Task]) -> list[Task]:
        if self.order == "due":
            return sorted(tasks, key=lambda task: task.get("due", 0))
        if self.order == "worth":
            return sorted(tasks, key=lambda task: -task.get("worth", 0))
        if self.order == "model":
            places = {_key(task["task"]): at for at, task in enumerate(fresh)}
            return sorted(tasks, key=lambda task: places.get(_key(task["task"]), len(places)))
        return tasks

    async def _ask(self, view: View, tasks: Sequence[Task], done: Sequence[str]) -> tuple[Sequence[Task], str, str]:
        first = opening(view, "You keep a list of tasks towards a goal, the most urgent first.")
        last = shown(view.turns[-1]) if view.turns else ""
        lines = [
            f"Tools:\n{listed(view.tools)}",
            f"Done: {'; '.join(done) or 'nothing'}.",
            f"Still on the list: {'; '.join(task['task'] for task in tasks) or 'nothing'}.",
            f"The last result: {last}" if last else "",
            "Write the whole list anew as JSON: each task in words, and the call that does it.",
        ]
        said = (*first[:-1], Message("user", "\n\n".join([first[-1].content, *filter(None, lines)])))
        form = ResponseFormat("json", schema=_schema(view))
        reply, request = await ask(view, needed(self.model, self.name), said, self.sampling, offer=form)
        try:
            given = json.loads(reply.text)["tasks"]
            fresh = [
                {"task": str(task["task"]), "call": {"tool": str(task["tool"]), "arguments": dict(task["arguments"])}}
                for task in given
            ]
        except (ValueError, KeyError, TypeError):
            fresh = []
        return fresh, reply.text, request

    async def conclude(self, view: View) -> Any:
        """The last result."""
        return view.last_result

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InputError(f"got most {self.most}, expected at least 1", remedy="write most: 30")


def _key(task: str) -> str:
    """Tasks that differ in nothing but capitals, spaces and punctuation are one."""
    return " ".join("".join(c if c.isalnum() else " " for c in task.casefold()).split())


def _schema(view: View) -> dict[str, Any]:
    task = {"anyOf": one_of(view.tools, {"task": {"type": "string", "maxLength": 120}}, {})}
    return {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task, "maxItems": 8}},
        "required": ["tasks"],
        "additionalProperties": False,
    }
