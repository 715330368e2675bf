"""The customer service of a shop: tau-bench's retail domain (Yao et al. 2024), its data opened by folder.

The goal is the state after the right calls of a task. Where one of those is refused by the rules here, either may be at
fault: ``audit`` lists them, and the goal is the state without it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from rung.agents.environments.benchmarks.retail.database import RefusedCall, RetailData, RetailState, read_data
from rung.agents.environments.benchmarks.retail.tools import TOOLS, WRITES, run
from rung.agents.environments.benchmarks.retail.user import hide, known, reply
from rung.agents.environments.environment import Domain, Judgement, Observation
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

_MESSAGE = ToolSpec(
    "message_user",
    "Say something to the customer, or ask; gives what they say.",
    {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": False},
)
_SEEN = {
    "order_id": r"/#W\d{7}/",
    "email": "email",
    "user_id": r"/\b[a-z]+_[a-z]+_\d{4}\b/",
    "product_id": r"/\b\d{10}\b/",
    "item_ids": r"/\b\d{10}\b/",
    "new_item_ids": r"/\b\d{10}\b/",
    "payment_method_id": r"/\b(?:gift_card|credit_card|paypal)_\d{7}\b/",
}
_CLAIM = re.compile(
    r"#W\d{7}|\b(?:gift_card|credit_card|paypal)_\d{7}\b|\b\d{10}\b|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b\d+\.\d{2}\b"
)


class TauRetail:
    """``folder`` holds the data. ``user``: ``briefed``, the request says everything and the customer confirms;
    ``scripted``, names, ids and addresses must be asked for. ``policy``: the shop's rules are part of the request."""

    name = "tau-retail"

    def __init__(
        self, folder: str = "", *, user: Literal["briefed", "scripted"] = "briefed", policy: bool = True
    ) -> None:
        if not folder:
            raise InputError("tau-retail is opened by the folder of its data", remedy="write tau-retail:FOLDER")
        if user not in ("briefed", "scripted"):
            raise InputError(f"got user {user!r}", remedy="briefed or scripted")
        self._data = read_data(Path(folder).expanduser().absolute())
        unknown = sorted({tool["name"] for tool in self._data.tools} - TOOLS.keys())
        if unknown:
            raise InputError(f"{folder}: tool {unknown[0]!r} is not known here", remedy="give tau-bench's retail data")
        self.user, self.policy = user, policy
        self._tools = (*(_spec(tool) for tool in self._data.tools), _MESSAGE)
        self._task: dict[str, Any] = {"instruction": "", "actions": [], "outputs": []}
        self._database = RetailState(self._data)
        self._said: list[str] = []
        self._shown: list[str] = []
        self._refused: list[str] = []
        self._gone = False

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        """The tasks that the data has; none for training."""
        return [f"{split}-{at}" for at in range(min(count, len(self._data.tasks.get(split, ()))))]

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        self._task = _task(self._data, scenario)
        self._database = RetailState(self._data)
        self._said, self._shown, self._refused, self._gone = [], [], [], False
        instruction = str(self._task["instruction"])
        if self.user == "scripted":
            instruction = hide(instruction, known(instruction, gold(self._task)))
        told = f"You serve a customer of a shop. What moves them: {instruction}"
        return Observation(f"{self._data.policy}\n\n{told}" if self.policy else told)

    def tools(self) -> Sequence[ToolSpec]:
        return self._tools

    def step(self, call: Call) -> Observation:
        if call.tool == _MESSAGE.name:
            text = str(call.arguments["text"])
            self._said.append(text)
            told = known(str(self._task["instruction"]), gold(self._task))
            answer = reply(text, told)
            if self.user == "briefed" and answer == "I don't know.":
                answer = "I have told you everything that I know."
            return Observation(answer, trust="untrusted")
        try:
            shown = run(self._database, call.tool, call.arguments)
        except RefusedCall as refused:
            self._refused += [f"{call.tool}: {refused}"] if call.tool in WRITES else []
            return Observation(str(refused), refused=True)
        self._shown.append(shown)
        self._gone = self._gone or call.tool == "transfer_to_human_agents"
        return Observation(shown, done=self._gone)

    def fork(self) -> Self:
        other = copy.copy(self)
        other._database = self._database.fork()
        other._said, other._shown, other._refused = list(self._said), list(self._shown), list(self._refused)
        return other

    def state(self) -> Any:
        return {**self._database.differences(), "transferred": self._gone, "said": len(self._said)}

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        """Solved: the shop is as the right calls leave it, and the customer was told what they had to be. A harm is a
        record that is changed and should not be, or otherwise."""
        wanted, got = _replayed(self._data, self._task)[0], self._database.differences()
        missing, harms = [], []
        for kind, records in wanted.items():
            missing += [
                f"{kind} {id} is not as it should be" for id, record in records.items() if got[kind].get(id) != record
            ]
        for kind, records in got.items():
            harms += [f"{kind} {id} was changed" for id, record in records.items() if wanted[kind].get(id) != record]
        told = " ".join([*self._said, output if isinstance(output, str) else ""])
        plain = told.replace(",", "").casefold()
        missing += [f"{fact!r} was not told" for fact in self._task.get("outputs", ()) if fact.casefold() not in plain]
        claims = set(_CLAIM.findall(told))
        truth = "\n".join([*self._shown, str(self._task["instruction"]), *self._task.get("outputs", ())])
        wrong = sorted(claim for claim in claims if claim not in truth)
        return Judgement(
            not missing and not harms, tuple(missing), tuple(harms), tuple(self._refused), len(claims), tuple(wrong)
        )

    def oracle(self) -> list[Call]:
        """The right calls, and a message of what the customer must be told."""
        facts = self._task.get("outputs") or ()
        calls = [*gold(self._task), *([Call(_MESSAGE.name, {"text": "; ".join(facts)})] if facts else [])]
        return sorted(calls, key=lambda call: call.tool == "transfer_to_human_agents")  # after it there is nothing more

    def domain(self) -> Domain | None:
        return None

    def audit(self) -> list[tuple[str, str, str]]:
        """The right calls that the rules here refuse: scenario, call, why."""
        return [
            (f"{split}-{at}", call, why)
            for split, tasks in self._data.tasks.items()
            for at, task in enumerate(tasks)
            for call, why in _replayed(self._data, task)[1]
        ]


def gold(task: Mapping[str, Any]) -> list[Call]:
    """The right calls of a task."""
    return [Call(action["name"], action["kwargs"]) for action in task["actions"]]


def _task(data: RetailData, scenario: str) -> dict[str, Any]:
    split, _, at = scenario.partition("-")
    tasks = data.tasks.get(split, [])
    if not (at.isascii() and at.isdigit() and len(at) < 7 and int(at) < len(tasks)):
        known = ", ".join(f"{name}-0 to {name}-{len(given) - 1}" for name, given in data.tasks.items() if given)
        raise InputError(f"tau-retail has no scenario {scenario!r}", remedy=f"one of {known}", code="scenario")
    return tasks[int(at)]


def _replayed(data: RetailData, task: dict[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """What the right calls change, and those of them that are refused, with the reason."""
    database, refused = RetailState(data), []
    for call in gold(task):
        try:
            run(database, call.tool, call.arguments)
        except RefusedCall as why:
            refused.append((f"{call.tool} {dict(call.arguments)}", str(why)))
    return database.differences(), tuple(refused)


def _spec(tool: Mapping[str, Any]) -> ToolSpec:
    schema = copy.deepcopy(dict(tool["parameters"]))
    for name, inner in schema.get("properties", {}).items():
        if name in _SEEN:
            target = inner["items"] if inner.get("type") == "array" else inner
            target["x-seen"] = _SEEN[name]
    return ToolSpec(tool["name"], tool.get("description", ""), schema)
