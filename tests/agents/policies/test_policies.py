"""What every policy keeps to, and what the classes of agents are good for."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from rung.agents.loop.episode import Episode
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import AgentPolicy
from rung.agents.loop.view import View
from rung.agents.policies.choice import describe, make_policy
from rung.agents.policies.classes.learning import QLearning
from rung.agents.policies.classes.utility import Utility
from rung.agents.program.program import AgentProgram
from rung.agents.rungs import practise
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.types.trail import MemoryTrail
from rung.models import Pool

OPTIONS: dict[str, dict[str, Any]] = {
    "router": {"routes": {"quick": "reflex", "slow": {"name": "goal"}}, "when": {"slow": "/column/"}},
    "hijacked": {"marker": "NOTE", "calls": [{"tool": "move", "arguments": {"to": "east"}}]},
    "noisy": {"p": 0.5, "inner": {"name": "goal"}},
    "plan_execute": {"plans": [{"steps": [{"tool": "move", "arguments": {"to": "east"}}]}]},
    "reviewed": {"inner": {"name": "goal"}, "critic": "check"},
    "coordinator": {"tasks": [{"task": "go", "to": "somebody"}], "reassign": 1},
    "scripted": {"calls": [{"tool": "move", "arguments": {"to": "south"}}]},
}
MODEL = "fake:echo"
WITHOUT_MODEL = ["reflex", "model_based", "goal", "utility", "learning", "scripted", "noisy", "plan_execute", "router",
                 "hijacked", "lexical", "recalled"]  # fmt: skip


def made(name: str, **options: Any) -> AgentPolicy:
    given = {"name": name, **OPTIONS.get(name, {}), **options}
    return make_policy(given, Pool(), MODEL if name in ("llm", "self_prompting", "task_list") else None)


async def played(policy: AgentPolicy, environment: Any, scenario: str, **limits: Any) -> View:
    program = AgentProgram(policy, environment=environment, limits=EpisodeLimits(**{"steps": 60, **limits}))
    return await Episode(program.agent(), "e", MemoryTrail()).run(program.start({"scenario": scenario}))


async def solved(policy: AgentPolicy, environment: Any, seeds: range) -> list[bool]:
    views = [await played(policy, environment, str(seed)) for seed in seeds]
    return [bool(view.ended and view.ended["verdict"]["solved"]) for view in views]


@pytest.mark.parametrize("name", sorted(registry.table("policy")))
def test_a_policy_is_made_again_of_what_it_says(name: str) -> None:
    policy = made(name)
    assert isinstance(policy, AgentPolicy)
    said = json.loads(json.dumps(describe(policy)))
    assert said["name"] == name
    assert describe(make_policy(said, Pool())) == said


@pytest.mark.parametrize("name", WITHOUT_MODEL)
async def test_a_policy_decides_the_same_after_a_crash(name: str) -> None:
    policy = made(name)
    program = AgentProgram(policy, environment="gridworld", limits=EpisodeLimits(steps=15))
    start, trail = program.start({"scenario": "11"}), MemoryTrail()
    whole = await Episode(program.agent(), "e", trail).run(start)
    events = trail.read("e")
    cuts = [
        at + 1 for at, event in enumerate(events) if event.kind == "called"
    ]  # what is appended together stays together
    for cut in (2, cuts[len(cuts) // 2], cuts[-1]):
        kept = MemoryTrail()
        await kept.append(events[:cut])
        again = await Episode(program.agent(), "e", kept).run(start)
        moves = [[(call.tool, call.arguments) for call in turn.calls] for turn in whole.turns]
        assert [[(call.tool, call.arguments) for call in turn.calls] for turn in again.turns] == moves
        assert again.ended == whole.ended


def test_what_there_is_not_is_told() -> None:
    for bad in ("reflx", {"name": "noisy", "q": 1}, {"name": "noisy", "p": 2}, {"name": "noisy", "p": "much"},
                {"name": "router"}, {"name": "router", "routes": {"a": "reflex"}, "when": {"b": "x"}}, {"p": 1},
                {"name": "utility", "risk": 99}, {"name": "scripted", "calls": [{"arguments": {}}]}):  # fmt: skip
        with pytest.raises(InputError):
            make_policy(bad, Pool())


async def test_policies_of_an_environment_say_that_there_is_none() -> None:
    program = AgentProgram(made("goal"))
    with pytest.raises(InputError) as raised:
        await Episode(program.agent(), "e", MemoryTrail()).run(program.start("go"))
    assert raised.value.code == "no-environment"


async def test_reflex_ignores_history() -> None:
    view = await played(made("reflex"), "gridworld", "3")
    policy = made("reflex")
    for turn in view.turns:
        if turn.calls:
            shuffled = list(view.turns)
            random.Random(0).shuffle(shuffled)
            other = View(domain=view.domain, percept=turn.percept, turns=shuffled, seed=9)
            move = await policy.decide(other)
            assert dict(move.calls[0].arguments) == dict(turn.calls[0].arguments)


async def test_a_model_of_what_is_not_seen_beats_reflex() -> None:
    for environment in ("gridworld", "thermostat"):
        reflex = await solved(made("reflex"), environment, range(40))
        modelled = await solved(made("model_based"), environment, range(40))
        assert sum(modelled) > sum(reflex) + 5, environment


async def test_goals_that_moved_are_reached_by_search_alone() -> None:
    moved = {"name": "gridworld", "moved": True}
    assert sum(await solved(made("goal"), moved, range(20))) == 20
    assert sum(await solved(made("reflex"), moved, range(20))) < 10


async def test_utility_weighs_chances_by_its_taste_for_risk() -> None:
    assert all(await solved(made("utility"), "lotteries", range(20)))
    assert sum(await solved(made("goal"), "lotteries", range(20))) < 20
    shy, bold = Utility(risk=3), Utility(risk=-3)
    for policy, better in ((shy, True), (bold, False)):
        sure, risky = policy.utility(50), (policy.utility(0) + policy.utility(100)) / 2
        assert (sure > risky) is better


async def test_a_learner_finds_out_what_nobody_told_it() -> None:
    world = {"name": "gridworld", "size": 5, "mud": 0.4, "map": 2}
    program = AgentProgram(made("learning"), environment=world, limits=EpisodeLimits(steps=60))
    learner = QLearning(explore=0.2)
    for at in range(300):
        learner, _ = await practise(program, learner, {"scenario": str(at % 10)}, at)

    async def reward(policy: AgentPolicy) -> float:
        views = [await played(policy, world, str(seed), loops=False) for seed in range(10)]
        return sum(view.reward for view in views)

    trained = await reward(replace(learner, explore=0.0))
    assert trained > await reward(QLearning())
    assert trained >= await reward(made("goal"))


async def test_the_order_of_a_task_list_decides_what_is_done_in_time() -> None:
    due = await solved(made("task_list", order="due"), "queue", range(15))
    fifo = await solved(made("task_list", order="fifo"), "queue", range(15))
    assert sum(due) == 15 > sum(fifo)


async def test_a_router_keeps_to_its_choice() -> None:
    view = await played(made("router"), "gridworld", "2")
    assert {turn.thought[:6] for turn in view.turns if turn.calls} == {"[slow]"}


async def test_noise_is_the_seeds() -> None:
    async def moves(seed: int) -> list[Any]:
        view = await played(made("noisy", seed=seed), "gridworld", "2", loops=False)
        return [[dict(call.arguments) for call in turn.calls] for turn in view.turns]

    assert await moves(1) == await moves(1) != await moves(2)
