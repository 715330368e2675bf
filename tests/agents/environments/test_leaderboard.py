"""The leaderboard as an environment: what is in no two splits, what is right, and tools that differ by scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rung.agents.environments.benchmarks.leaderboard import Leaderboard, right
from rung.agents.environments.environment import Environment
from rung.agents.loop.episode import Episode
from rung.agents.loop.move import Call
from rung.agents.policies.given.scripted import Scripted
from rung.agents.program.program import AgentProgram
from rung.agents.trace.rows import rows
from rung.core.errors import InputError
from rung.core.types.trail import MemoryTrail
from tests.agents.calls.test_bfcl import write


def function(name: str) -> dict[str, Any]:
    parameters = {"type": "dict", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    return {"name": name, "description": f"What {name} does.", "parameters": parameters}


def asked(id: str, text: str, *names: str) -> dict[str, Any]:
    question = [[{"role": "user", "content": text}]]
    return {"id": id, "question": question, "function": [function(name) for name in names]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    simple = [asked(f"simple_python_{at}", f"Do {at} of it", f"tool{at}") for at in range(8)]
    several = [
        asked("multiple_0", "do 1  OF it", "other0", "spare"),  # asked in a dev item too
        asked("multiple_1", "Something else", "tool3", "spare"),  # right in a test item too
        asked("multiple_2", "Quite new", "other2", "tool1"),  # offers what is right in a dev item
        asked("multiple_3", "do 0 of it", "tool3"),  # would be in train and in test
    ]
    for part, given in (("simple_python", simple), ("multiple", several)):
        truths = [{"id": one["id"], "ground_truth": [{one["function"][0]["name"]: {"n": [7, ""]}}]} for one in given]
        write(tmp_path, part, given, truths)
    write(tmp_path, "irrelevance", [asked("irrelevance_0", "Who are you?", "tool0")], [])
    return tmp_path


def test_nothing_of_a_test_is_trained_on(folder: Path) -> None:
    world = Leaderboard(str(folder))
    found = {split: set(world.scenarios(split, 100)) for split in ("train", "dev", "test")}
    assert found["dev"] == {"simple_python_1", "simple_python_5", "multiple_0"}
    assert found["test"] == {"simple_python_3", "simple_python_7", "multiple_1"}
    assert {"simple_python_0", "irrelevance_0"} < found["train"]
    assert not {"multiple_2", "multiple_3"} & {*found["train"], *found["dev"], *found["test"]}


def test_one_exact_call_solves_and_none_where_none_is_right(folder: Path) -> None:
    world = Leaderboard(str(folder))
    assert isinstance(world, Environment)
    assert world.reset("simple_python_3").text == "Do 3 of it"
    other = world.fork()
    assert world.step(Call("tool3", {"n": 7})).done
    assert world.judge(None).solved
    assert world.step(Call("tool3", {"n": 7})).refused
    assert not other.judge(None).solved
    other.step(Call("tool3", {"n": 8}))
    assert other.judge(None).missing == ("n: got 8",)
    world.reset("irrelevance_0")
    assert world.judge(None).solved
    assert world.oracle() == []
    world.step(Call("tool0", {"n": 1}))
    assert world.judge(None).harms
    with pytest.raises(InputError) as told:
        world.reset("simple_python_99")
    assert told.value.code == "scenario"
    with pytest.raises(InputError):
        Leaderboard()


def test_right_values_are_the_first_possible_ones_nested_ones_too() -> None:
    answers: dict[str, Any] = {"a": [1, 2], "b": ["", 3], "c": [{"d": [4, 5], "e": ["", 6]}], "f": [[{"g": [7]}]]}
    assert right(answers) == {"a": 1, "c": {"d": 4}, "f": [{"g": 7}]}


async def test_an_episode_has_the_tools_of_its_scenario_and_so_have_its_rows(folder: Path) -> None:
    program = AgentProgram(Scripted(), environment=f"bfcl:{folder}")
    for scenario, tool in (("simple_python_2", "tool2"), ("simple_python_4", "tool4")):
        trail, start = MemoryTrail(), program.start({"scenario": scenario})
        view = await Episode(program.agent(), scenario, trail).run(start)
        assert view.ended is not None
        assert view.ended["verdict"]["solved"]
        made = rows(program.agent(), trail.read(scenario))
        assert [row["messages"][-1]["content"] for row in made] == [tool, '{"n": 7}']
        assert f"- {tool}: " in made[0]["messages"][1]["content"]
