"""Plans, task lists and prompts of one's own, by models that say what the test says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import AgentPolicy
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.policies.llm import Llm
from rung.agents.policies.planning.plan import mistakes, read_plan, ready
from rung.agents.policies.planning.plan_execute import PlanExecute
from rung.agents.policies.planning.self_prompting import SelfPrompting
from rung.agents.policies.planning.task_list import TaskList
from rung.agents.tools.function import tool
from rung.core.types import Capabilities, ToolCall
from rung.core.types.trail import MemoryTrail
from tests.agents.script import Script


def double(n: int) -> int:
    """Twice n."""
    return 2 * n


def half(n: int) -> int:
    """Half of an even n."""
    if n % 2:
        raise ValueError("odd")
    return n // 2


async def run(policy: AgentPolicy, trail: MemoryTrail | None = None, **limits: Any) -> View:
    agent = Agent(policy, Toolset([tool(double), tool(half)]), limits=EpisodeLimits(**limits))
    return await Episode(agent, "e", trail or MemoryTrail()).run(Start("work out 4 * 2 / 4"))


def plan(*steps: tuple[str, str, Any, list[str]]) -> dict[str, Any]:
    return {"steps": [{"id": i, "tool": t, "arguments": {"n": n}, "needs": needs} for i, t, n, needs in steps]}


async def test_a_model_calls_tools_until_it_answers() -> None:
    model = Script([ToolCall("1", "double", {"n": 4}), ToolCall("2", "half", {"n": 3}), "It is 8."])
    view = await run(Llm(model))
    assert (view.ended or {})["output"] == "It is 8."
    assert [call.text for call in view.turns[0].calls] == ["8"]
    assert view.turns[1].calls[0].refused
    assert view.usage.calls == 3
    last = model.requests[-1].messages
    assert [message.role for message in last] == ["system", "user", "assistant", "tool", "assistant", "tool"]


async def test_tokens_are_kept_for_the_closing_answer() -> None:
    model = Script([ToolCall(str(n), "double", {"n": n}) for n in range(50)], each=40)
    view = await run(Llm(model), tokens=600, reserve=100)
    assert (view.ended or {})["stopped"] == "tokens"
    assert (view.ended or {})["output"] == "closing"
    assert view.usage.tokens <= 600


async def test_steps_are_done_in_order_and_side_by_side() -> None:
    made = plan(("c", "double", "${b}", []), ("a", "double", 1, []), ("b", "half", 8, []))
    steps = read_plan(made)
    assert [step.id for step in ready(steps, {})] == ["a", "b"]
    assert [step.id for step in ready(steps, {"a": "2", "b": "4"})] == ["c"]
    assert steps[0].call({"b": "4"}).arguments == {"n": "4"}


async def test_a_number_that_a_step_gave_is_a_number_for_the_next() -> None:
    made = plan(("a", "half", 8, []), ("b", "double", "${a}", []))
    view = await run(PlanExecute(plans=(made,)))
    assert (view.ended or {})["output"] == "8"
    text = read_plan({"steps": [{"id": "b", "tool": "say", "arguments": {"words": "${a}"}}]})[0]
    assert text.call({"a": "4"}).arguments == {"words": "4"}


def test_plans_that_cannot_be_done_are_told() -> None:
    complaint = Toolset([tool(double)]).complaint
    for bad, word in (
        (plan(("a", "double", 1, ["b"]), ("b", "double", 1, ["a"])), "circle"),
        (plan(("a", "double", 1, ["x"])), "no step"),
        (plan(("a", "double", 1, []), ("a", "double", 1, [])), "twice"),
        (plan(("a", "dubble", 1, [])), "no tool"),
        (plan(("a", "double", "one", [])), "integer"),
    ):
        assert word in " ".join(mistakes(read_plan(bad), complaint)), bad
    none: list[Any] = [{}, []]
    for bad_plan in (
        *none,
        {"steps": "x"},
        {"steps": [{"arguments": {}}]},
        {"steps": [{"tool": "a", "arguments": 3}]},
    ):
        with pytest.raises(ValueError, match=r"plan|step"):
            read_plan(bad_plan)


async def test_a_failed_step_leads_to_another_plan() -> None:
    plans = (plan(("a", "half", 7, [])), plan(("a", "half", 8, []), ("b", "double", 4, ["a"])))
    view = await run(PlanExecute(plans=plans))
    assert (view.ended or {})["output"] == "8"
    assert len([turn for turn in view.turns if turn.plan]) == 2
    bounded = await run(PlanExecute(plans=(plans[0],) * 9, replans=3))
    assert len([turn for turn in bounded.turns if turn.plan]) == 4
    assert "no more are made" in bounded.turns[-1].thought


async def test_a_model_writes_the_plan() -> None:
    model = Script([json.dumps(plan(("a", "double", 4, [])))])
    view = await run(PlanExecute(model))
    assert (view.ended or {})["output"] == "8"
    assert model.requests[0].form.kind == "json"
    broken = await run(PlanExecute(Script(["no plan at all"])))
    assert "no plan" in broken.turns[-1].thought


def step(tool_name: str, after: str, **arguments: Any) -> str:
    return json.dumps({"tool": tool_name, "arguments": arguments, "next": after})


async def test_the_next_prompt_is_the_models_own() -> None:
    model = Script([step("double", "Halve it.", n=4), step("half", "Say it.", n=8), step("finish", "", output="4")])
    view = await run(SelfPrompting(model))
    assert (view.ended or {})["output"] == "4"
    assert [turn.plan["prompt"] for turn in view.turns if turn.plan] == ["Halve it.", "Say it."]
    assert "Halve it." in model.requests[1].messages[-1].content


async def test_a_trap_and_a_limit_end_a_model_that_prompts_itself() -> None:
    trap = await run(SelfPrompting(Script([step("double", "Again.", n=4)] * 50)))
    assert (trap.ended or {})["stopped"] == "loop"
    assert trap.steps < 8
    assert (trap.ended or {})["output"] == "8"
    limited = await run(SelfPrompting(Script([step("double", "On.", n=n) for n in range(50)])), steps=5)
    assert (limited.ended or {})["stopped"] == "steps"


def tasks(*given: tuple[str, str, int]) -> str:
    return json.dumps({"tasks": [{"task": t, "tool": name, "arguments": {"n": n}} for t, name, n in given]})


async def test_a_list_is_kept_ordered_without_repeats_and_ends() -> None:
    model = Script([
        tasks(("Double 4", "double", 4), ("Halve 2", "half", 2)),
        tasks(("halve  2.", "half", 2), ("double 4", "double", 4), ("Halve 6", "half", 6)),
        tasks(("Halve 6", "half", 6)),
        tasks(),
    ])  # fmt: skip
    trail = MemoryTrail()
    view = await run(TaskList(model, order="model"), trail)
    assert view.plan["done"] == ["Double 4", "Halve 2", "Halve 6"]
    assert (view.ended or {})["output"] == "3"
    kept = MemoryTrail()
    await kept.append(trail.read("e")[:6])  # a crash after the second decision
    again = await run(TaskList(Script(model.said[2:]), order="model"), kept)
    assert again.plan == view.plan


async def test_at_most_so_many_tasks_are_taken_in() -> None:
    more = [tasks(*((f"task {n}-{at}", "double", n * 10 + at) for at in range(8))) for n in range(50)]
    view = await run(TaskList(Script(more), most=12))
    assert len(view.plan["done"]) == 12
    assert view.ended is not None


def test_the_script_is_a_model() -> None:
    assert Script([]).capabilities == Capabilities(frozenset({"json"}), tools=True, context=8192)


@pytest.mark.parametrize("policy", [SelfPrompting, TaskList])
async def test_a_call_is_decoded_under_the_schema_of_its_tool(policy: Any) -> None:
    model = Script(["no step"] * 3)
    await run(policy(model), steps=1)
    form = json.dumps(model.requests[0].form.schema)
    for name in ("double", "half"):
        assert (
            f'"tool": {{"type": "string", "enum": ["{name}"]}}, "arguments": {{"type": "object", "properties": {{"n":'
            in form
        )
