"""What every environment keeps to."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rung.agents.environments.environment import Environment
from rung.agents.environments.packs.scenarios import rows
from rung.agents.loop.move import Call
from rung.agents.loop.toolset import Toolset
from rung.agents.policies.given.noisy import random_arguments
from rung.agents.program.program import make_environment
from rung.core.errors import InputError
from rung.core.parts import registry

OPENED = {"bfcl", "code", "code-repair", "tau-retail", "text-to-sql"}
"""Environments that are opened by a folder of data: their own tests make one."""
NAMES = sorted(set(registry.table("environment")) - OPENED)


def play(world: Environment, scenario: str, steps: int = 12) -> list[Any]:
    """Random valid calls, and what came of each."""
    first = world.reset(scenario)
    draw = random.Random(scenario)
    out: list[Any] = [(first.text, first.value, world.state())]
    words = first.text.replace(":", " ").split()
    for _ in range(steps):
        spec = draw.choice(list(world.tools()))
        call = Call(spec.name, random_arguments(spec, draw, words))
        assert Toolset((), world).complaint(call) == ""
        shown = world.step(call)
        out.append((shown.text, shown.value, shown.reward, world.state()))
        if shown.done:
            break
    return json.loads(json.dumps(out))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_environments_keep_the_contract(name: str) -> None:
    world = make_environment(name)
    assert isinstance(world, Environment)
    assert world.name == name
    splits = {split: world.scenarios(split, 30) for split in ("train", "dev", "test")}
    names = [scenario for given in splits.values() for scenario in given]
    assert len(set(names)) == 90
    scenario = splits["test"][3]
    once, again = play(world, scenario), play(make_environment(name), scenario)
    assert once == again  # reset is whole, and nothing depends on anything else
    assert play(world, splits["test"][4]) != once
    Toolset((), world)  # its tools have schemas
    for bad in ("", "-1", "x", "1.5", "9" * 30):
        with pytest.raises(InputError):
            world.reset(bad)


@pytest.mark.parametrize("name", NAMES)
def test_forks_go_their_own_way(name: str) -> None:
    world = make_environment(name)
    world.reset("5")
    solution = world.oracle()
    other = world.fork()
    before = json.dumps(world.state())
    for call in solution:
        other.step(call)
    assert json.dumps(world.state()) == before
    assert other.judge(None).solved
    assert not world.judge(None).solved


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_solves_and_is_known_from_any_state(name: str) -> None:
    world = make_environment(name)
    for scenario in world.scenarios("dev", 15):
        world.reset(scenario)
        solution = world.oracle()
        for at, call in enumerate(solution):
            assert world.oracle() == solution, at
            assert not world.step(call).refused
        assert world.judge(None).solved, scenario


@pytest.mark.parametrize("name", NAMES)
def test_rows_name_scenarios(name: str) -> None:
    made = rows(make_environment(name), {"train": 2, "test": 1})
    assert [row["split"] for row in made] == ["train", "train", "test"]
    assert all(row["request"] and row["scenario"] for row in made)


def test_unknown_names_and_options_are_told() -> None:
    several: tuple[Any, ...] = (
        "gridwold",
        {"name": "gridworld", "sise": 3},
        {"name": "gridworld", "size": 0},
        {"size": 3},
        7,
    )
    for bad in several:
        with pytest.raises(InputError):
            make_environment(bad)
