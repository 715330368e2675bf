"""Which rungs a task is climbed with when it names none."""

from __future__ import annotations

from dataclasses import replace

from rung.core.settings import Settings
from rung.core.types import RungChoice
from rung.ladder.prepare.plan import plan
from tests import desk


def test_agents_are_climbed_unasked_where_there_is_something_to_act_in(settings: Settings) -> None:
    task = desk.task(rungs=())
    titles = {attempt.title for attempt in plan(task, settings)}
    assert {"rules", "zero-shot", "lora-f16"} <= titles
    assert not titles & {"agent", "agent-policy", "agent-learning"}
    inside = {attempt.title for attempt in plan(replace(task, environment="gridworld"), settings)}
    assert {"agent", "agent-learning"} <= inside
    assert "agent-policy" not in inside
    named = replace(task, rungs=(RungChoice("agent"),))
    assert [attempt.title for attempt in plan(named, settings)] == ["agent"]
