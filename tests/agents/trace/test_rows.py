"""Solved episodes become rows: what a model is shown, and what was decided there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rung.agents.calls.call import Staging
from rung.agents.policies.given.scripted import Scripted
from rung.agents.policies.llm import Llm
from rung.agents.program.program import AgentProgram
from rung.agents.trace.rows import Student, rows, solved
from rung.core.types import ToolCall
from rung.core.types.trail import Event, MemoryTrail, recording
from tests.agents.environments.test_desk import scenario_of
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


async def test_one_conversation_an_episode() -> None:
    program = AgentProgram(Scripted(), environment="desk")
    events = await episode(program, {"scenario": scenario_of("late")})
    student = Student.of(program.policy, "turns")
    (row,) = rows(program.agent(), events, student)
    said = row["messages"]
    assert [turn["role"] for turn in said] == ["system", "user", *("assistant", "user") * 4, "assistant"]
    names = [turn["content"].partition("\n")[0] for turn in said if turn["role"] == "assistant"]
    assert names == ["read_ticket", "find_customer", "get_order", "issue_voucher", "reply"]
    # Nothing says how much the voucher is for, so that call could not be made: it is shown, not learnt.
    unlearnt = [turn["content"].partition("\n")[0] for turn in said if turn.get("weight") == 0]
    assert unlearnt == ["issue_voucher"]
    told = replace(student, instruction="A parcel that is 5 days late: a voucher of 10.00.")
    (row,) = rows(program.agent(), events, told)
    assert not any("weight" in turn for turn in row["messages"])
    assert "voucher of 10.00" in row["messages"][0]["content"]
    held = Student(staging=Staging(prompt="turns", facts="seen"), way="turns")
    (row,) = rows(program.agent(), events, held)
    assert sum(turn.get("weight") == 0 for turn in row["messages"]) == 1


async def test_a_student_learns_what_the_teacher_knew() -> None:
    policy = {"text": "Orders are cancelled on Fridays."}
    program = AgentProgram(
        Scripted(), environment="desk", memory={"name": "lessons", "given": [policy], "frozen": True}
    )
    events = await episode(program, {"scenario": scenario_of("legal")})
    (row,) = rows(program.agent(), events, Student.of(program.policy, "turns"))
    assert "Fridays" not in json.dumps(row["messages"])


async def test_native_rows_hold_tools_and_the_answer() -> None:
    policy = Llm(Script([ToolCall("1", "do", {"job": "nothing"}), ToolCall("1", "do", {"job": "job-1"}), "all done"]))
    program = AgentProgram(policy, environment={"name": "queue", "jobs": 1})
    events = await episode(program, {"scenario": "4"})
    made = rows(program.agent(), events, Student.of(policy, "native"))
    # The refused call teaches nothing; the world ended it, so that nothing was said last.
    calls = [row["messages"][-1]["tool_calls"][0]["arguments"] for row in made if row["messages"][-1].get("tool_calls")]
    assert calls == [{"job": "job-1"}]
    assert made[0]["tools"][0]["function"]["name"] == "do"


async def test_what_was_stopped_is_not_solved() -> None:
    program = AgentProgram(Scripted(calls=({"tool": "do", "arguments": {"job": "job-1"}},)), environment="queue")
    assert not solved(await episode(program, {"scenario": "4"}))
