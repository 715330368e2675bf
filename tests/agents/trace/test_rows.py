"""Solved episodes become rows: what a model is shown, and what was decided there."""

from __future__ import annotations

import json
from typing import Any

from rung.agents.policies.given.scripted import Scripted
from rung.agents.policies.llm import Llm
from rung.agents.program.program import AgentProgram
from rung.agents.trace.rows import rows, solved
from rung.core.types import ToolCall
from rung.core.types.trail import Event, MemoryTrail, recording
from tests.agents.script import Script


async def episode(program: AgentProgram, input: Any) -> list[Event]:
    trail = MemoryTrail()
    with recording(trail):
        answer = await program(input)
    return trail.read(answer.episode)


async def test_an_oracle_teaches_its_calls() -> None:
    program = AgentProgram(Scripted(), environment={"name": "queue", "jobs": 3})
    events = await episode(program, {"scenario": "4"})
    assert solved(events)
    every = rows(program.agent(), events)
    chosen = [row for row in every if row["messages"][-1]["content"] == "do"]
    assert len(every) == 6
    assert len(chosen) == 3
    assert all("- finish: " in row["messages"][1]["content"] for row in chosen)
    made = [row for row in every if row not in chosen]
    jobs = [json.loads(row["messages"][-1]["content"])["job"] for row in made]
    assert sorted(jobs) == ["job-1", "job-2", "job-3"]
    assert "Do the jobs" in made[0]["messages"][1]["content"]
    assert jobs[0] in made[1]["messages"][1]["content"].partition("->")[0]  # what was done before is shown
    assert {row["episode"] for row in made} == {events[0].episode}


async def test_what_leaves_no_choice_is_no_row() -> None:
    program = AgentProgram(Scripted(), environment="desk")
    made = rows(program.agent(), await episode(program, {"scenario": "7"}))
    said = [row["messages"][-1]["content"] for row in made]
    assert said[0] == "read_ticket"  # its one argument is the only ticket there is
    assert "read_ticket" in made[0]["messages"][1]["content"]
    assert not any(json.loads(text).keys() == {"ticket"} for text in said if text.startswith("{"))


async def test_native_rows_hold_tools_and_the_answer() -> None:
    policy = Llm(Script([ToolCall("1", "do", {"job": "nothing"}), ToolCall("1", "do", {"job": "job-1"}), "all done"]))
    program = AgentProgram(policy, environment={"name": "queue", "jobs": 1})
    events = await episode(program, {"scenario": "4"})
    made = rows(program.agent(), events, "native")
    # The refused call teaches nothing; the world ended it, so that nothing was said last.
    calls = [row["messages"][-1]["tool_calls"][0]["arguments"] for row in made if row["messages"][-1].get("tool_calls")]
    assert calls == [{"job": "job-1"}]
    assert made[0]["tools"][0]["function"]["name"] == "do"


async def test_what_was_stopped_is_not_solved() -> None:
    program = AgentProgram(Scripted(calls=({"tool": "do", "arguments": {"job": "job-1"}},)), environment="queue")
    assert not solved(await episode(program, {"scenario": "4"}))
