"""An agent is a program: saved, loaded, asked twice, told when a tool has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rung.agents.loop.limits import EpisodeLimits
from rung.agents.policies.choice import make_policy
from rung.agents.program.file import read_agent
from rung.agents.program.metrics import COVERAGE, HARMLESS, SOLVED, TRIED_HARM, WRONGLY_BLOCKED
from rung.agents.program.open import open_target, reopen
from rung.agents.program.program import AgentProgram
from rung.agents.rungs import AgentRung, LearningRung, PolicyRung
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.place import within
from rung.core.types import Case, Step
from rung.core.types.trail import MemoryTrail, recording
from rung.models import Pool
from rung.tasks import load


def agent(policy: Any = "goal", **parts: Any) -> AgentProgram:
    return AgentProgram(make_policy(policy, Pool()), environment="gridworld", **parts)


async def test_it_is_saved_and_loaded_with_what_it_has_learned(tmp_path: Path) -> None:
    learned = {"name": "learning", "values": {"[0, 0] [7, 7]": {'move {"to":"east"}': 2.5}}}
    for made in (agent(), agent(learned, tools=("calculator",), memory="lessons", limits=EpisodeLimits(steps=9))):
        folder = programs.save(made, tmp_path / made.identity[:8])
        again = programs.load(folder, Pool())
        assert programs.fingerprint(again) == made.identity
        assert (await again({"scenario": "5"})).output == (await made({"scenario": "5"})).output


def test_its_identity_is_all_that_it_may_do() -> None:
    several = [
        agent(), agent("reflex"), agent(limits=EpisodeLimits(steps=3)), agent(memory="lessons"), agent(tools=("calculator",)),
        AgentProgram(make_policy("goal", Pool()), environment={"name": "gridworld", "moved": True}),
    ]  # fmt: skip
    assert len({one.identity for one in several}) == len(several)


def test_a_tool_that_says_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('def ask(q: str) -> str:\n    "Ask."\n    return q\n')
    with within(tmp_path):
        spec = agent(tools=("python:mine.py:ask",)).spec()
        (tmp_path / "mine.py").write_text('def ask(q: str) -> str:\n    "Ask, and tell everybody."\n    return q\n')
        with pytest.raises(InputError) as raised:
            AgentProgram.load(spec, tmp_path, Pool())
    assert raised.value.code == "tool-changed"


async def test_the_same_question_within_one_trail_is_one_episode() -> None:
    trail = MemoryTrail()
    with recording(trail):
        first = await agent()({"scenario": "5"})
        again = await agent()({"scenario": "5"})
        other = await agent()({"scenario": "5"}, repeat=1)
    assert first.episode == again.episode != other.episode
    assert first.output == again.output
    assert [step.name for step in first.steps] == [step.name for step in again.steps]


async def test_metrics_read_the_verdict_and_no_claim() -> None:
    good, bad = await agent()({"scenario": "5"}), await agent("reflex")({"scenario": "1"})
    lies = Case({}, "I have reached the goal.", None)
    cases = [Case({}, one.output, None, one.raw, one.failure, one.steps) for one in (good, bad)]
    assert [score.value for score in await SOLVED.score([*cases, lies])][::2] == [1.0, 0.0]
    assert [score.value for score in await HARMLESS.score([*cases, lies])] == [1.0, 1.0, 1.0]


async def test_harm_that_was_tried_and_plans_are_scored() -> None:
    step = Step("verdict", reply='{"solved":true,"coverage":0.5,"attempted":["refund"],"false_blocks":["reply"]}')
    cases = [Case({}, "", None, steps=(step,)), Case({}, "an answer", None)]
    for metric, wanted in ((COVERAGE, [0.5, 0.0]), (TRIED_HARM, [1.0, 0.0]), (WRONGLY_BLOCKED, [1.0, 0.0])):
        assert [score.value for score in await metric.score(cases)] == wanted
        assert metric.higher_is_better == (metric is COVERAGE)


async def test_rungs_want_something_to_act_in(tmp_path: Path) -> None:
    pack, plain = load("queue"), load("support-intent")
    for rung in (AgentRung(), PolicyRung(), LearningRung()):
        assert rung.obstacle(pack, Pool()) == ""
        assert rung.obstacle(plain, Pool())


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("policy: gaol\n", 1, "gaol"),
        ("policy: goal\nenvironment: gridwold\n", 2, "gridwold"),
        ("policy: goal\ntools: [calculatr]\n", 2, "calculatr"),
        ("policy: goal\nlimits: {stepps: 3}\n", 2, "stepps"),
        ("policy: goal\nlimits: {steps: -3}\n", 2, "-3"),
        ("policy: goal\nmemory: lesons\n", 2, "lesons"),
        ("polcy: goal\n", 1, "polcy"),
        ("policy: goal\npolicy: llm\n", 2, "twice"),
    ],
)
def test_mistakes_in_an_agent_file_are_told_with_their_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        read_agent(file, Pool())
    assert f"{file}:{line}" in raised.value.message
    assert word in raised.value.message


async def test_targets_are_environments_files_and_tasks(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "policy: {name: scripted, calls: [{tool: calculator, arguments: {expression: 6*7}}]}\ntools: [calculator]\n"
    )
    found = open_target(str(file), "work it out", {}, Pool())
    assert found.folder == tmp_path
    trail = MemoryTrail()
    with recording(trail):
        answer = await found.program(found.start.request)
    assert "42" in str(answer.output)
    program, start, _ = reopen(trail.read(answer.episode), Pool())
    assert (program.identity, start.request) == (found.program.identity, "work it out")
    grid = open_target("gridworld:7", "", {"policy": "goal", "seed": 3}, Pool())
    assert (grid.start.scenario, grid.start.seed) == ("7", 3)
    queue = open_target("queue", "", {"policy": "utility"}, Pool())
    assert queue.program.limits.steps == 20
    for bad in (("gridwold:7", ""), (str(file), ""), ("support-intent", ""), (str(tmp_path / "none.yaml"), "x")):
        with pytest.raises(InputError):
            open_target(*bad, {"policy": "goal"}, Pool())
