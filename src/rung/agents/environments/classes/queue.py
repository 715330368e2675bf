"""Jobs with deadlines, done one at a time: what comes first decides how many are done in time."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from copy import copy
from typing import Any, Literal, Self

from rung.agents.environments.environment import Judgement, Observation, number, numbers
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec

_DO = ToolSpec(
    "do",
    "Do a job from beginning to end.",
    {"type": "object", "properties": {"job": {"type": "string"}}, "required": ["job"], "additionalProperties": False},
)


class Queue:
    """``jobs`` that could all be done in time. The reward is what the jobs are worth that were; solved is all of it."""

    name = "queue"

    def __init__(self, *, jobs: int = 10) -> None:
        if not 1 <= jobs <= 500:
            raise InputError(f"queue: got {jobs} jobs", remedy="expected 1 to 500")
        self.jobs = jobs
        self._jobs: dict[str, tuple[int, int, int]] = {}
        self._done: tuple[str, ...] = ()
        self._time, self._won = 0, 0

    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        return numbers(split, count)

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        draw = random.Random(f"queue {number(scenario, self.name)}")
        clock, jobs = 0, []
        for at in range(self.jobs):  # some order keeps every deadline; it is shuffled away
            minutes = draw.randint(5, 60)
            clock += minutes
            jobs.append((f"job-{at}", minutes, clock + draw.randint(0, 40), draw.randint(1, 5)))
        draw.shuffle(jobs)
        names = [f"job-{at + 1}" for at in range(self.jobs)]
        self._jobs = {name: job[1:] for name, job in zip(names, jobs, strict=True)}
        self._done, self._time, self._won = (), 0, 0
        told = "; ".join(
            f"{name}: {m} minutes, due at {due}, worth {worth}" for name, (m, due, worth) in self._jobs.items()
        )
        return Observation(f"Do the jobs so that as many as can be are done when they are due. {told}.", self._value())

    def _value(self) -> Any:
        left = [
            {"job": name, "minutes": minutes, "due": due, "worth": worth}
            for name, (minutes, due, worth) in self._jobs.items()
            if name not in self._done
        ]
        return {"time": self._time, "jobs": left}

    def tools(self) -> Sequence[ToolSpec]:
        return (_DO,)

    def step(self, call: Call) -> Observation:
        name = call.arguments["job"]
        if name not in self._jobs or name in self._done:
            return Observation(f"{name!r} is not to be done.", refused=True)
        minutes, due, worth = self._jobs[name]
        self._time += minutes
        self._done = (*self._done, name)
        late = self._time > due
        self._won += 0 if late else worth
        done = len(self._done) == len(self._jobs)
        text = f"{name} is done at {self._time}, {'late' if late else 'in time'}."
        return Observation(text, self._value(), 0.0 if late else float(worth), done=done)

    def fork(self) -> Self:
        return copy(self)

    def state(self) -> Any:
        return [self._time, self._won, list(self._done)]

    def judge(self, output: Any, plan: Any = None) -> Judgement:
        most = sum(worth for _, _, worth in self._jobs.values())
        solved = self._won == most
        return Judgement(solved, () if solved else (f"worth {most - self._won} of {most} was late or not done",))

    def oracle(self) -> list[Call]:
        order = sorted(self._jobs, key=lambda name: self._jobs[name][1])
        return [Call("do", {"job": name}) for name in order]

    def domain(self) -> QueueDomain:
        return QueueDomain()


class QueueDomain:
    """What is known: what stands in the list. A belief is {time, jobs, won}."""

    def react(self, percept: Any) -> Call | None:
        return Call("do", {"job": percept["jobs"][0]["job"]}) if percept["jobs"] else None

    def believe(self, belief: Any, call: Call | None, percept: Any) -> Any:
        return {**percept, "won": 0}

    def explore(self, belief: Any) -> Call | None:
        return self.react(belief)

    def options(self, belief: Any) -> list[Call]:
        return [Call("do", {"job": job["job"]}) for job in belief["jobs"]]

    def predict(self, belief: Any, call: Call) -> list[tuple[float, Any]]:
        job = next(job for job in belief["jobs"] if job["job"] == call.arguments["job"])
        time = belief["time"] + job["minutes"]
        left = [other for other in belief["jobs"] if other is not job]
        return [(1.0, {"time": time, "jobs": left, "won": belief["won"] + job["worth"] * (time <= job["due"])})]

    def reached(self, belief: Any) -> bool:
        return not belief["jobs"]

    def worth(self, belief: Any) -> float:
        """What was won, and what can still be won by going on in the order of the deadlines."""
        time, won = belief["time"], belief["won"]
        for job in sorted(belief["jobs"], key=lambda job: job["due"]):
            if time + job["minutes"] <= job["due"]:
                time += job["minutes"]
                won += job["worth"]
        return float(won)

    def key(self, belief: Any) -> Hashable:
        return frozenset(job["job"] for job in belief["jobs"])

    def features(self, percept: Any) -> str:
        return ",".join(sorted(job["job"] for job in percept["jobs"]))

    def tasks(self, percept: Any) -> list[dict[str, Any]]:
        """The jobs as a list of tasks for a policy that keeps one."""
        return [
            {
                "task": f"do {job['job']}",
                "call": {"tool": "do", "arguments": {"job": job["job"]}},
                "due": job["due"],
                "worth": job["worth"],
            }
            for job in percept["jobs"]
        ]
