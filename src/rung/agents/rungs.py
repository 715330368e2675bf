"""Agents as rungs: tried on tasks that name an environment or tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rung.agents.loop.episode import Episode
from rung.agents.memory.episodic import EpisodicMemory
from rung.agents.memory.lessons import LessonMemory
from rung.agents.policies.classes.learning import QLearning
from rung.agents.program.file import make_agent
from rung.agents.program.program import AgentProgram
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Progress, Task
from rung.core.types.trail import MemoryTrail

RUNGS = {
    "agent": "rung.agents.rungs:AgentRung",
    "agent-policy": "rung.agents.rungs:PolicyRung",
    "agent-learning": "rung.agents.rungs:LearningRung",
    "agent-cases": "rung.agents.rungs:CaseRung",
}

PROGRAMS = {
    "agent": "rung.agents.program.program:AgentProgram",
}


def _obstacle(task: Task) -> str:
    return (
        ""
        if task.environment or task.tools
        else "there is nothing to act in: the task file names no environment: or tools:"
    )


def agent_of(task: Task, policy: Any, resources: Resources, *, memory: Any = None, guard: Any = None) -> AgentProgram:
    """An agent with the task's tools, environment and limits. Raises InputError for what there is not."""
    given = {
        "policy": policy,
        "tools": task.tools,
        "environment": task.environment,
        "memory": memory,
        "guard": guard,
        "limits": task.limits,
    }
    return make_agent(given, resources)


@dataclass(frozen=True)
class AgentRung:
    """A language model that calls the task's tools (see the policy ``llm``); ``guard`` is a file beside the task, or
    its content."""

    traits: ClassVar[Traits] = Traits(acts=True)

    max_tokens: int = 256
    guard: str | Mapping[str, Any] = ""

    def obstacle(self, task: Task, resources: Resources) -> str:
        return _obstacle(task)

    async def fit(self, task: Task, context: Context) -> AgentProgram:
        policy = {
            "name": "llm",
            "model": context.resources.model().name,
            "instruction": task.instruction,
            "sampling": {"max_tokens": self.max_tokens},
        }
        return agent_of(task, policy, context.resources, guard=self.guard or None)


@dataclass(frozen=True)
class PolicyRung:
    """Any policy by name and options: ``agent-policy: {policy: goal}``. With ``practice`` it first plays so many
    training scenarios, and what it has learned there (memory ``lessons``) is part of it from then on."""

    traits: ClassVar[Traits] = Traits(uses_model=False, optional=True, acts=True)

    policy: str = "reflex"
    options: Mapping[str, Any] = field(default_factory=dict)
    practice: int = 0
    guard: str | Mapping[str, Any] = ""

    def obstacle(self, task: Task, resources: Resources) -> str:
        if self.practice and not task.train:
            return "there are no training scenarios to practise in"
        return _obstacle(task)

    async def fit(self, task: Task, context: Context) -> AgentProgram:
        policy = {"name": self.policy, **self.options}
        guard = self.guard or None
        if not self.practice:
            return agent_of(task, policy, context.resources, guard=guard)
        program, trail = agent_of(task, policy, context.resources, memory="lessons", guard=guard), MemoryTrail()
        for at in range(self.practice):
            start = program.start(task.train[at % len(task.train)].input, at)
            await Episode(program.agent(), program.episode(start), trail).run(start)
            context.progress(Progress("practice", at + 1, self.practice))
        learned = LessonMemory(most=1000).recall(trail.learned(program.identity))
        lessons = {"name": "lessons", "given": learned, "frozen": True}
        return agent_of(task, policy, context.resources, memory=lessons, guard=guard)


@dataclass(frozen=True)
class LearningRung:
    """Q-learning over ``episodes`` of the training scenarios, in turn; a share ``explore`` of the decisions is left to
    chance."""

    traits: ClassVar[Traits] = Traits(uses_model=False, acts=True)

    episodes: int = 400
    explore: float = 0.2

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not task.environment:
            return _obstacle(task) or "nothing rewards the agent: the task file names no environment:"
        return "" if task.train else "there are no training scenarios"

    async def fit(self, task: Task, context: Context) -> AgentProgram:
        program = agent_of(task, "learning", context.resources)
        learner = program.policy
        assert isinstance(learner, QLearning)
        for at in range(self.episodes):
            example = task.train[at % len(task.train)]
            learner, _ = await practise(program, replace(learner, explore=self.explore), example.input, at)
            if at % 20 == 19:
                context.progress(Progress("episodes", at + 1, self.episodes))
        return agent_of(task, {"name": "learning", "values": learner.values}, context.resources)


async def practise(program: AgentProgram, learner: QLearning, input: Any, seed: int) -> tuple[QLearning, float]:
    """One episode with the learner, loops allowed; the learner after it, and the reward that it got."""
    agent = replace(program.agent(), policy=learner, limits=replace(program.limits, loops=False))
    view = await Episode(agent, "practice", MemoryTrail()).run(program.start(input, seed))
    return learner.learn(view), view.reward


@dataclass(frozen=True)
class CaseRung:
    """Episodic memory: a ``teacher`` plays ``episodes`` of the training scenarios, and those that it solved are the
    cases that this agent follows; where none fits, ``inner`` decides. ``episodes`` 0 is the same agent without
    memory."""

    traits: ClassVar[Traits] = Traits(uses_model=False, optional=True, acts=True)

    teacher: str = "scripted"
    inner: str = "lexical"
    episodes: int = 100

    def obstacle(self, task: Task, resources: Resources) -> str:
        return _obstacle(task) or ("" if task.train or not self.episodes else "there are no training scenarios")

    async def fit(self, task: Task, context: Context) -> AgentProgram:
        teacher, trail = agent_of(task, self.teacher, context.resources, memory="episodic"), MemoryTrail()
        for at in range(min(self.episodes, len(task.train))):
            start = teacher.start(task.train[at].input)
            await Episode(teacher.agent(), teacher.episode(start), trail).run(start)
            context.progress(Progress("cases", at + 1, self.episodes))
        memory = EpisodicMemory()
        cases = memory.retrieve(trail.memories.of("", memory.owner), "")
        given = {"name": "episodic", "given": cases, "frozen": True}
        return agent_of(task, {"name": "recalled", "inner": self.inner}, context.resources, memory=given)
