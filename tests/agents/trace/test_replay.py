"""An episode done again comes out the same, to the byte; what differs is named."""

from __future__ import annotations

from typing import Any

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import act, finish
from rung.agents.loop.toolset import Toolset
from rung.agents.policies.choice import make_policy
from rung.agents.policies.llm import Llm
from rung.agents.program.program import AgentProgram
from rung.agents.tools.function import tool
from rung.agents.trace.replay import fork, replay
from rung.agents.trace.steps import steps
from rung.core.errors import InputError
from rung.core.types import ToolCall
from rung.core.types.trail import Event, MemoryTrail
from rung.models import Pool
from tests.agents.script import Script

AGENTS: list[tuple[Any, Any]] = [
    ("goal", "gridworld"),
    ("reflex", "gridworld"),
    ({"name": "noisy", "p": 0.5}, "queue"),
    ("model_based", "thermostat"),
]


async def recorded(program: AgentProgram, scenario: str = "9") -> list[Event]:
    trail = MemoryTrail()
    await Episode(program.agent(), "e", trail).run(program.start({"scenario": scenario}))
    return trail.read("e")


@pytest.mark.parametrize(("policy", "environment"), AGENTS)
async def test_an_episode_comes_out_the_same(policy: Any, environment: Any) -> None:
    program = AgentProgram(
        make_policy(policy, Pool()), environment=environment, memory="lessons", limits=EpisodeLimits(steps=30)
    )
    events = await recorded(program)
    assert await replay(program.agent(), events) is None
    assert await replay(program.agent(), events, live=frozenset(("model",))) is None
    cut = [*events[:-1], events[-1]._replace(payload={**events[-1].payload, "output": "another"})]
    different = await replay(program.agent(), cut)
    assert different is not None
    assert different.seq == events[-1].seq


async def test_results_of_tools_are_the_recorded_ones() -> None:
    calls: list[int] = []

    def tick(n: int) -> int:
        calls.append(n)
        if n == 2:
            raise ValueError("two")
        return len(calls)

    model = Script(
        [ToolCall("1", "tick", {"n": 1}), ToolCall("2", "tick", {"n": 2}), ToolCall("3", "tack", {}), "done"]
    )
    trail, agent = MemoryTrail(), Agent(Llm(model), Toolset([tool(tick)]))
    await Episode(agent, "e", trail).run(Start("count"))
    events, before = trail.read("e"), list(calls)
    assert await replay(agent, events) is None
    assert calls == before
    different = await replay(agent, events, live=frozenset(("tools",)))
    assert different is not None
    assert '"3"' in different.made or "3" in different.made
    at = next(event.seq for event in events if event.kind == "said") + 2
    tampered = [
        event._replace(payload={**event.payload, "text": "7"}) if event.seq == at else event for event in events
    ]
    agent = Agent(Llm(Script(model.said)), Toolset([tool(tick)]))
    different = await replay(agent, tampered, live=frozenset(("model",)))
    assert different is not None  # the model was shown something else


async def test_an_episode_that_went_through_a_crash_and_a_person_is_compared_as_far_as_it_can_be() -> None:
    program = AgentProgram(make_policy("goal", Pool()), environment="gridworld")
    events = await recorded(program)
    trail = MemoryTrail()
    await trail.append(events[:4])
    await Episode(program.agent(), "e", trail).run(program.start({"scenario": "9"}))
    resumed = trail.read("e")
    assert "resumed" in {event.kind for event in resumed}
    assert await replay(program.agent(), resumed) is None
    cut = MemoryTrail()
    await cut.append([*events[:7], Event("e", 7, "steered", {"do": "say", "text": "hurry"}, 0.0)])
    await Episode(program.agent(), "e", cut).run(program.start({"scenario": "9"}))
    assert await replay(program.agent(), cut.read("e")) is None


async def test_what_was_cut_is_not_cut_again() -> None:
    def much() -> str:
        return "é " * 500

    agent = Agent(
        Llm(Script([ToolCall("1", "much", {}), "done"])), Toolset([tool(much)]), limits=EpisodeLimits(bytes=100)
    )
    trail = MemoryTrail()
    await Episode(agent, "e", trail).run(Start("go"))
    events = trail.read("e")
    assert any(event.payload.get("text", "").endswith("are shown]") for event in events)
    assert await replay(agent, events) is None


async def test_a_fork_goes_its_own_way_from_an_event() -> None:
    def times(n: int) -> int:
        return 10 * n

    class Twice:
        async def decide(self, view: Any) -> Any:
            results = [call.text for turn in view.turns for call in turn.calls]
            return act("times", n=int(results[-1]) if results else 1) if len(results) < 2 else finish(results[-1])

    trail, agent = MemoryTrail(), Agent(Twice(), Toolset([tool(times)]))
    await Episode(agent, "e", trail).run(Start("go"))
    events = trail.read("e")
    seen = next(event.seq for event in events if event.kind == "observed")
    view = await fork(agent, events, seen, {"text": "5"}, trail, "child")
    assert (view.ended or {})["output"] == "50"
    called = next(event.seq for event in events if event.kind == "called")
    view = await fork(agent, events, called, {"arguments": {"n": 3}}, trail, "other")
    assert (view.ended or {})["output"] == "300"
    assert trail.read("child")[0].payload["parent"] == "e"
    for at, change in ((0, {}), (99, {}), (seen, {"none": 1}), (events[-1].seq, {"output": 1})):
        with pytest.raises(InputError):
            await fork(agent, events, at, change, trail, "bad")


async def test_steps_name_the_four_parts_and_the_verdict_is_last() -> None:
    program = AgentProgram(make_policy({"name": "noisy", "p": 1.0}, Pool()), environment="gridworld", memory="lessons")
    events = await recorded(program)
    names = [step.name for step in steps(events)]
    assert {"perceive", "reason", "act", "learn"} <= set(names)
    assert names[-1] == "verdict"
