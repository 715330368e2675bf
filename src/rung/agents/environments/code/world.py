"""Write a function, or repair one: code is run on the examples that the task names, and judged by tests that nobody
sees."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from rung.agents.environments.code.mutations import mutations
from rung.agents.environments.code.tasks import CodeTask, read_tasks
from rung.agents.environments.environment import Judgement, Observation, number
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec
from rung.metrics.answers.code import run_tests
from rung.sandbox import Quota, open_sandbox

QUOTA = Quota(seconds=3.0, memory=512, output=8_000)
PLANTED = 12
"""Mistakes that are tried at most until one fails a hidden test."""

_CODE = {"type": "string", "description": "The whole solution in Python.", "maxLength": 20_000}
TOOLS = tuple(
    ToolSpec(name, about, {"type": "object", "properties": {"code": _CODE}, "required": ["code"], "additionalProperties": False, "x-effect": effect})
    for name, about, effect in (
        ("run_code", "Run a solution on the task's examples and see what fails.", "pure"),
        ("submit", "Hand the solution in; this ends the task.", "keyed"),
    )
)  # fmt: skip


class CodeTasks:
    """``folder``: HumanEval's or MBPP's file, or the folder that it lies in. Raises Unsupported (code ``no-sandbox``)
    where no sandbox runs CPython."""

    name = "code"
    bugs = False

    def __init__(self, folder: str = "") -> None:
        if not folder:
            raise InputError(
                f"{self.name} is opened by a file of tasks", remedy=f"write {self.name}:FILE (HumanEval or MBPP)"
            )
        self._tasks = read_tasks(Path(folder).expanduser().absolute())
        self._sandbox = open_sandbox("bubblewrap")
        self._at = 0
        self._given = ""
        self._runs: list[str] = []
        self._submitted: str | None = None

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        """Positions in the file: every fourth is for training, every fourth for dev, the others for test."""
        of = {"train": (0,), "dev": (1,), "test": (2, 3)}[split]
        return [str(at) for at in range(len(self._tasks)) if at % 4 in of][:count]

    @property
    def _task(self) -> CodeTask:
        return self._tasks[self._at]

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        self._at = number(scenario, self.name)
        if self._at >= len(self._tasks):
            raise InputError(
                f"code has no scenario {scenario!r}: there are {len(self._tasks)} tasks",
                remedy="begin at 0",
                code="scenario",
            )
        self._runs, self._submitted = [], None
        self._given = self._planted() if self.bugs else ""
        if self.bugs:
            text = f"A solution of this task is wrong somewhere. Repair it.\n\nTask:\n{self._task.prompt}\n\nSolution:\n{self._given}"
        else:
            text = f"Write this function in Python.\n\n{self._task.prompt}"
        return Observation(text, {"prompt": self._task.prompt, "code": self._given})

    def _planted(self) -> str:
        """The solution with the first mistake, in an order of its own for each task, that a hidden test finds."""
        found = mutations(self._task.solution)
        random.Random(f"bug {self._task.id}").shuffle(found)
        for one in found[:PLANTED]:
            if self._tested(one.code, self._task.tests):
                return one.code
        return found[0].code if found else self._task.solution

    def _tested(self, code: str, tests: Any) -> str:
        return run_tests(self._sandbox, self._task.head, code, tests, QUOTA)

    def tools(self) -> Sequence[ToolSpec]:
        return TOOLS

    def step(self, call: Call) -> Observation:
        if self._submitted is not None:
            return Observation("A solution has been handed in.", refused=True)
        code = str(call.arguments["code"])
        if call.tool == "submit":
            self._submitted = code
            return Observation("It is handed in.", {"tool": "submit"}, done=True)
        shown = self._task.shown
        wrong = self._tested(code, list(shown) or "pass")
        self._runs.append(wrong)
        text = wrong or (f"All {len(shown)} examples pass." if shown else "It runs; the task names no examples.")
        return Observation(text, {"tool": "run_code", "passed": not wrong, "examples": len(shown)})

    def fork(self) -> Self:
        other = copy.copy(self)
        other._runs = list(self._runs)
        return other

    def state(self) -> Any:
        return {"task": self._task.id, "runs": len(self._runs), "submitted": self._submitted}

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        if self._submitted is None:
            return Judgement(False, ("nothing was handed in",))
        wrong = self._tested(self._submitted, self._task.tests)
        return Judgement(not wrong, (f"a hidden test fails: {wrong}",) if wrong else ())

    def oracle(self) -> list[Call]:
        return [Call("submit", {"code": self._task.solution})]

    def domain(self) -> None:
        return None


class CodeRepair(CodeTasks):
    """A right solution with one planted mistake is to be repaired."""

    name = "code-repair"
    bugs = True
