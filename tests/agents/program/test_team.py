"""Agents that ask other agents: children, budgets, letters, coordinator, critic, workers, conversations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import Decision, act, finish
from rung.agents.loop.view import View
from rung.agents.policies.llm import Llm
from rung.agents.policies.planning.coordinator import Coordinator
from rung.agents.policies.planning.critic import Reviewed
from rung.agents.program.file import make_agent, read_agent
from rung.agents.program.member import ProgramMember, WorkerMember, make_member
from rung.agents.program.program import AgentProgram
from rung.agents.program.worker import work
from rung.agents.trace.replay import replay
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Answer, Message, ToolCall, ToolSpec
from rung.core.types.trail import MemoryTrail, recording
from rung.models import Pool
from rung.store import Store, open_store
from tests.agents.script import Script


def llm(*said: str | ToolCall, each: int = 10) -> Llm:
    return Llm(Script(said, each))


def member(name: str, policy: Any, **more: Any) -> ProgramMember:
    return ProgramMember(name, f"Ask {name}.", AgentProgram(policy, **more))


def ask(name: str, request: str) -> ToolCall:
    return ToolCall("1", name, {"request": request})


async def test_a_member_is_a_tool_and_its_episode_a_child(tmp_path: Path) -> None:
    worker = member("worker", llm("it is 7"))
    boss = AgentProgram(llm(ask("worker", "what is it?"), "the worker says 7"), members={"worker": worker})
    trail = MemoryTrail()
    with recording(trail):
        answer = await boss("find out")
    assert answer.output == "the worker says 7"
    child = next(events for id, events in trail._events.items() if id != answer.episode)
    assert child[0].payload["parent"] == answer.episode
    assert child[0].payload["request"] == "what is it?"
    # What the child has used is its parent's too: two replies of the boss, one of the worker.
    assert answer.usage.calls == 3
    assert await replay(boss.agent(), trail.read(answer.episode)) is None


async def test_a_child_may_use_what_its_parent_has_left() -> None:
    endless = member("worker", llm(*["let me think"] * 50, each=40), limits=EpisodeLimits(tokens=100_000))
    limits = EpisodeLimits(tokens=600, reserve=50)
    boss = AgentProgram(
        llm(*[ask("worker", f"go {at}") for at in range(50)]), members={"worker": endless}, limits=limits
    )
    answer = await boss("find out")
    assert answer.usage.tokens <= 700


@pytest.mark.parametrize("fails", [0, 1, 2])
async def test_a_task_that_fails_is_given_to_somebody_else(fails: int) -> None:
    class Breaks(Llm):
        async def decide(self, view: View) -> Decision:
            return finish(None, "I cannot")

    team = {
        name: member(name, Breaks(Script([])) if at < fails else llm(f"{name} did it")) for at, name in enumerate("abc")
    }
    tasks = ({"id": "1", "task": "do it", "to": "a"}, {"id": "2", "task": "then use ${1}", "to": "c"})
    boss = AgentProgram(Coordinator(tasks=tasks, reassign=1), members=team)
    trail = MemoryTrail()
    with recording(trail):
        answer = await boss("both")
    said = [event.payload for event in trail.read(answer.episode) if event.kind == "said"]
    if fails < 2:
        assert answer.output == "c did it"
        last = said[-2]["plan"]["tasks"][0]
        assert last["tried"] == ["a"][:fails]
    else:
        assert answer.failure is not None
        assert "nobody could do task 1" in said[-1]["thought"]


async def test_a_coordinator_splits_by_its_model_and_tasks_run_side_by_side() -> None:
    plan = {
        "tasks": [
            {"id": "x", "task": "one", "to": "a", "needs": []},
            {"id": "y", "task": "two", "to": "b", "needs": []},
        ]
    }
    started: list[float] = []

    class Slow(Llm):
        async def decide(self, view: View) -> Decision:
            started.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.05)
            return finish(f"did {view.request}")

    team = {name: member(name, Slow(Script([]))) for name in "ab"}
    model = Script([json.dumps(plan), "one and two are done"])
    boss = AgentProgram(Coordinator(model, summary=True), members=team)
    answer = await boss("both")
    assert answer.output == "one and two are done"
    assert max(started) - min(started) < 0.04
    assert "did one" in model.requests[1].messages[-1].content


async def test_a_task_for_nobody_is_told() -> None:
    policy = Coordinator(tasks=({"task": "look", "to": "nobody"},))
    member = ToolSpec("reader", "Reads.", {"type": "object", "properties": {"request": {"type": "string"}}})
    with pytest.raises(InputError) as told:
        await policy.decide(View((member,), request="go"))
    assert "'nobody'" in told.value.message


async def test_a_critic_sends_back_and_accepts() -> None:
    critic = member("critic", llm("too short", "ok"))
    boss = AgentProgram(Reviewed(llm("a", "a longer one"), "critic"), members={"critic": critic})
    trail = MemoryTrail()
    with recording(trail):
        answer = await boss("write")
    assert answer.output == "a longer one"
    inner: Any = boss.policy.inner  # type: ignore[attr-defined]
    assert "Not accepted: too short" in inner.model.requests[1].messages[-1].content
    assert not any(tool.name == "critic" for request in inner.model.requests for tool in request.tools)


async def test_a_critic_that_never_agrees_ends_in_rounds() -> None:
    critic = member("critic", llm(*["no"] * 9))
    boss = AgentProgram(Reviewed(llm(*["again"] * 9), "critic", rounds=2), members={"critic": critic})
    trail = MemoryTrail()
    with recording(trail):
        answer = await boss("write")
    assert answer.output == "again"
    last = [event for event in trail.read(answer.episode) if event.kind == "said"][-1]
    assert last.payload["thought"] == "not accepted: no"
    assert sum(event.kind == "called" for event in trail.read(answer.episode)) == 3


class Writes:
    """Sends, waits, and says what came."""

    name = "writes"

    def __init__(self, *moves: Decision) -> None:
        self.moves = moves

    async def decide(self, view: View) -> Decision:
        return self.moves[view.steps] if view.steps < len(self.moves) else finish(" | ".join(view.heard))


async def test_agents_write_to_one_another() -> None:
    trail = MemoryTrail()
    made = {}
    for name, moves in {
        "ann": [act("subscribe", topic="news"), act("send", to="bob", text="hello"), act("receive", seconds=5.0)],
        "bob": [act("receive", seconds=0.1), act("send", to="ann", text="hello yourself")],
    }.items():
        made[name] = AgentProgram(Writes(*moves), mailbox=name)
        made[name].__dict__["identity"] = name
        made[name].spec = lambda: {}  # type: ignore[method-assign]
    with recording(trail):
        ann, bob = await asyncio.gather(made["ann"]("write"), made["bob"]("write"))
    assert ann.output == "bob writes: hello yourself"
    assert bob.output == "ann writes: hello"
    assert trail.mail.unread("ann") == trail.mail.unread("bob") == []


async def test_workers_answer_letters_and_failures_are_told(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'a.db'}") as store:
        trail = store.episodes.trail("normal")
        team = {"pool": WorkerMember("pool", "Workers.", "pool", 5.0)}
        boss = AgentProgram(Coordinator(tasks=({"task": "add"}, {"task": "add more"})), members=team)

        async def answers(input: Any) -> Answer:
            return Answer(f"did {input}")

        worker: Any = type("W", (), {"__call__": staticmethod(answers)})()
        with recording(trail):
            answer, done = await asyncio.gather(boss("go"), work(worker, "pool", trail, most=2))
        assert done == 2
        assert answer.output == "did add more"
        lonely = AgentProgram(
            Coordinator(tasks=({"task": "add"},), reassign=0), members={"pool": WorkerMember("pool", "", "pool", 0.1)}
        )
        with recording(trail):
            answer = await lonely("go again")
        assert answer.failure is not None
        assert trail.mail.unread("pool") == []  # withdrawn


async def test_an_agent_file_with_a_team_is_saved_and_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def twice(n: int) -> int:\n    '''Twice a number.'''\n    return 2 * n\n")
    (tmp_path / "w.yaml").write_text(
        "policy: {name: scripted, calls: [{tool: twice, arguments: {n: 4}}]}\ntools: [python:mine.py:twice]\n"
    )
    (tmp_path / "boss.yaml").write_text(
        "policy: {name: coordinator, tasks: [{task: go, to: w}]}\nteam: {w: w.yaml, far: {box: b, about: far away}}\n"
    )
    program = read_agent(tmp_path / "boss.yaml", Pool())
    assert (await program("x")).output == "8"
    folder, whole = programs.save(program, tmp_path / "out"), programs.fingerprint(program)
    (tmp_path / "mine.py").unlink()
    again = programs.load(folder, Pool())
    assert (await again("x")).output == "8"
    assert programs.fingerprint(again) == whole


@pytest.mark.parametrize(
    "team",
    [
        "[a]",
        "{a: none.yaml}",
        "{a: {policy: nobody}}",
        "{a: {box: b, wait: -1}}",
        "{a: {file: x.yaml, policy: llm}}",
        "{a: }",
    ],
)
def test_a_team_that_is_none_is_told_with_its_line(tmp_path: Path, team: str) -> None:
    file = tmp_path / "boss.yaml"
    file.write_text(f"policy: reflex\nteam: {team}\n")
    with pytest.raises(InputError) as error:
        read_agent(file, Pool())
    assert error.value.line == 2


# ---------------------------------------------------------------- conversations


def said(*texts: str) -> list[Message]:
    return [Message("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)]


async def test_a_conversation_is_one_episode(store_trail: MemoryTrail) -> None:
    policy = llm("hello", "you said hi", "and bye")
    program = AgentProgram(policy)
    with recording(store_trail):
        one = await program.converse(said("hi"))
        two = await program.converse(said("hi", "hello", "what did I say?"))
        three = await program.converse(said("hi", "hello", "what did I say?", "you said hi", "bye"))
    assert [answer.output for answer in (one, two, three)] == ["hello", "you said hi", "and bye"]
    assert one.episode == two.episode == three.episode
    model: Any = policy.model
    assert [m.content for m in model.requests[2].messages[1:]] == [
        "hi",
        "hello",
        "what did I say?",
        "you said hi",
        "bye",
    ]


async def test_two_that_said_the_same_go_on_apart(store_trail: MemoryTrail) -> None:
    program = AgentProgram(llm("hello", "one", "two", "hello"))
    with recording(store_trail):
        first = await program.converse(said("hi"))
        one = await program.converse(said("hi", "hello", "a"))
        two = await program.converse(said("hi", "hello", "b"))
        other = await program.converse(said("hi", "hello", "c"), owner="somebody else")
    assert (one.output, two.output) == ("one", "two")
    assert first.episode == one.episode != two.episode
    assert other.episode not in (one.episode, two.episode)
    model: Any = program.model
    assert [m.content for m in model.requests[2].messages[1:]] == ["hi", "hello", "b"]


async def test_a_conversation_ends_with_a_user(store_trail: MemoryTrail) -> None:
    with pytest.raises(InputError):
        await AgentProgram(llm("x")).converse(said("hi", "hello"))


@pytest.fixture(params=["memory", "store"])
def store_trail(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        yield MemoryTrail()
        return
    opened: Store
    with open_store(f"sqlite:///{tmp_path / 'a.db'}") as opened:
        yield opened.episodes.trail("normal")


def test_members_are_part_of_who_the_agent_is() -> None:
    given: Mapping[str, Any] = {
        "policy": {"name": "coordinator"},
        "team": {"a": {"policy": "reflex", "environment": "gridworld"}},
    }
    one = make_agent(given, Pool())
    other = make_agent({**given, "team": {"a": {"policy": "goal", "environment": "gridworld"}}}, Pool())
    assert one.identity != other.identity


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("number", "number"), ({"labels": ["a", "b"]}, "labels"), ({"regex": "x+"}, "regex"), (None, "text")],
)
def test_a_prompt_is_a_member_with_a_form(answer: Any, kind: str) -> None:
    made = make_member("a", {"prompt": "Say it.", "model": "fake:echo", "answer": answer}, Pool())
    assert isinstance(made, ProgramMember)
    assert made.description == "Say it."
    assert made.spec()["spec"]["options"].get("form", {}).get("kind", "text") == kind


@pytest.mark.parametrize("answer", ["numbers", {"label": ["a"]}, {"labels": 3}])
def test_a_form_that_is_none_is_told(answer: Any) -> None:
    with pytest.raises(InputError):
        make_member("a", {"prompt": "Say it.", "model": "fake:echo", "answer": answer}, Pool())
