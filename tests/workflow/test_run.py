"""Workflows run in the order of what they read, branch, loop, map, vote, try again, and go on where they were."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.types import Answer, Failure, Input
from rung.core.types.trail import Event, MemoryTrail, Trail, recording
from rung.models import Pool
from rung.workflow.definition import FlowReader
from rung.workflow.graph import mermaid, svg
from rung.workflow.log import FlowLog
from rung.workflow.program import WorkflowProgram, read_workflow
from tests.agents.script import Script


class Says:
    """A program that answers by a function, and counts."""

    kind = "says"
    model = None

    def __init__(self, say: Any) -> None:
        self.say, self.asked = say, list[Any]()

    def spec(self) -> dict[str, Any]:
        return {}

    def files(self) -> Mapping[str, Path | bytes]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        self.asked.append(input)
        await asyncio.sleep(0)
        found = self.say(input, repeat) if self.say.__code__.co_argcount == 2 else self.say(input)
        return found if isinstance(found, Answer) else Answer(found)

    @classmethod
    def load(cls, spec: Any, folder: Path, resources: Any) -> Says:
        raise NotImplementedError


def flow(value: dict[str, Any], **agents: Says) -> WorkflowProgram:
    reader = FlowReader(agents, [tool.split(":")[0] for tool in value.get("tools", ())])
    made = reader.flow(value)
    assert [problem for problem in reader.problems.found if problem.level == "error"] == []
    return WorkflowProgram(made, agents, tools=tuple(value.get("tools", ())))


async def test_steps_run_in_the_order_of_what_they_read_and_side_by_side() -> None:
    running, most = 0, 0

    async def work(input: Any) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return f"<{input}>"

    class Slow(Says):
        async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
            return Answer(await work(input))

    program = flow(
        {
            "inputs": ["topic"],
            "steps": [
                {"value": "one + two", "output": "both"},
                {"agent": "a", "task": "1 {{ topic }}", "output": "one"},
                {"agent": "a", "task": "2 {{ topic }}", "output": "two"},
            ],
            "outputs": ["both", "one"],
        },
        a=Slow(lambda _: ""),
    )
    answer = await program("x")
    assert answer.output == {"both": "<1 x><2 x>", "one": "<1 x>"}
    assert most == 2


async def test_branch_loop_map_and_inputs() -> None:
    writer = Says(lambda text: text.upper())
    program = flow(
        {
            "inputs": {"topics": None, "tone": "dry"},
            "steps": [
                {
                    "each": "topics.split(',')",
                    "as": "topic",
                    "do": [
                        {"agent": "w", "task": "About {{ topic }}", "inputs": ["tone"], "output": "draft"},
                        {
                            "repeat": [{"value": "text + '!'", "output": "text"}],
                            "carry": {"text": "draft"},
                            "until": "text.endswith('!!')",
                            "most": 9,
                        },
                        {
                            "when": "topic == 'b'",
                            "then": [{"value": "'second: ' + text", "output": "out"}],
                            "else": [{"value": "text", "output": "out"}],
                        },
                    ],
                    "collect": "out",
                    "output": "all",
                },
            ],
        },
        w=writer,
    )
    answer = await program({"topics": "a,b"})
    assert answer.output == ["ABOUT A\n\nTONE: DRY!!", "second: ABOUT B\n\nTONE: DRY!!"]


async def test_what_is_carried_is_old_before_it_is_written_and_new_after() -> None:
    body = [
        {"value": "text + '?'", "output": "before"},
        {"value": "text + '.'", "output": "text"},
        {"value": "text + '!'", "output": "after"},
    ]
    steps = [{"repeat": body, "carry": {"text": "'x'"}, "most": 2}]
    answer = await flow({"steps": steps, "outputs": ["before", "text", "after"]})({})
    assert answer.output == {"before": "x.?", "text": "x..", "after": "x..!"}


async def test_retry_otherwise_and_failure() -> None:
    def flaky(input: Any, repeat: int) -> Any:
        return f"try {repeat}" if repeat == 2 else Answer(None, failure=Failure("model", "down"))

    steps: list[dict[str, Any]] = [{"agent": "a", "task": "go", "retry": 2, "output": "x"}]
    assert (await flow({"steps": steps}, a=Says(flaky))({})).output == "try 2"
    steps[0]["retry"] = 1
    failed = await flow({"steps": steps}, a=Says(flaky))({})
    assert failed.failure is not None
    assert failed.failure.code == "step-failed"
    steps[0]["otherwise"] = "'none'"
    assert (await flow({"steps": steps}, a=Says(flaky))({})).output == "none"


async def test_a_vote_and_what_becomes_of_none() -> None:
    def member(vote: Any) -> Says:
        return Says(lambda _: vote or Answer(None, failure=Failure("model", "down")))

    step = {"vote": ["a", "b", "c"], "task": "?", "by": "quorum", "quorum": 2, "output": "x"}
    agents = {"a": member("yes"), "b": member("yes"), "c": member("")}
    assert (await flow({"steps": [step]}, **agents)({})).output == "yes"
    agents["b"] = member("no")
    assert (await flow({"steps": [step]}, **agents)({})).failure is not None
    weighed = {**step, "by": "weighted", "weights": {"b": 3}}
    assert (await flow({"steps": [weighed]}, **agents)({})).output == "no"


async def test_a_tool_is_called_with_values_of_their_type() -> None:
    value: dict[str, Any] = {
        "inputs": ["a"],
        "tools": ["calculator"],
        "steps": [{"tool": "calculator", "arguments": {"expression": "{{ a }} * 2"}, "output": "x"}],
    }
    assert "34" in (await flow(value)({"a": "17"})).output
    value["steps"] = [{"tool": "calculator", "arguments": {"expression": "{{ [a] }}"}, "output": "x"}]
    assert (await flow(value)({"a": "17"})).failure is not None


class Dies(MemoryTrail):
    """Breaks off after ``left`` more events."""

    left = 0

    async def append(self, events: Any, driver: Any = None, letters: Any = ()) -> None:
        if self.left <= 0:
            raise OSError("gone")
        self.left -= 1
        await super().append(events, driver, letters)


async def test_a_run_that_breaks_off_anywhere_goes_on_and_asks_nothing_twice() -> None:
    value: dict[str, Any] = {
        "inputs": ["n"],
        "steps": [
            {"agent": "a", "task": "{{ n }}", "output": "one"},
            {
                "each": "[1, 2, 3]",
                "do": [{"agent": "a", "task": "{{ one }}{{ item }}", "output": "y"}],
                "output": "all",
            },
            {"agent": "b", "task": "{{ all | join('+') }}", "retry": 1, "output": "end"},
        ],
        "together": 1,
    }
    whole = Says(lambda text: f"({text})"), Says(lambda text: f"[{text}]")
    wanted = (await flow(value, a=whole[0], b=whole[1])({"n": "x"})).output
    for steps in range(2, 12):
        trail, agents = Dies(), (Says(lambda text: f"({text})"), Says(lambda text: f"[{text}]"))
        program = flow(value, a=agents[0], b=agents[1])
        with recording(trail):
            for _ in range(30):
                trail.left = steps
                try:
                    answer = await program({"n": "x"})
                except OSError:
                    continue
                break
        assert answer.output == wanted
        done = [event for event in trail.read(answer.episode) if event.kind == "observed"]
        assert len(done) == 5
        # What was asked and not written down is asked again; nothing that was written down is.
        assert len(agents[0].asked) + len(agents[1].asked) <= 5 + 30


async def test_what_is_left_ends_its_step_and_goes_on_later() -> None:
    trail = MemoryTrail()
    log = FlowLog("w", trail)

    def first(text: str) -> str:
        log.leave = True  # a signal came while it was asked
        return text.upper()

    steps = [
        {"agent": "a", "task": "{{ topic }}", "output": "one"},
        {"agent": "b", "task": "{{ one }}", "output": "two"},
    ]
    a, b = Says(first), Says(lambda text: f"{text}!")
    program = flow({"inputs": ["topic"], "steps": steps, "outputs": ["two"]}, a=a, b=b)
    answer = await program.run(program.inputs("x"), log)
    assert answer.failure is not None
    assert answer.failure.where == "waiting"
    assert "rung workflow resume w" in answer.failure.message
    assert b.asked == []
    answer = await program.run(program.inputs("x"), FlowLog("w", trail))
    assert answer.output == "X!"
    assert len(a.asked) == 1


async def test_an_effect_whose_outcome_is_unknown_waits_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "post.py").write_text(
        "sent = []\ndef post(text: str) -> str:\n    sent.append(text)\n    return 'done'\n"
    )
    value: dict[str, Any] = {
        "tools": [{"name": "python", "target": f"{tmp_path / 'post.py'}:post", "effect": "once"}],
        "steps": [{"tool": "post", "arguments": {"text": "hi"}, "output": "x"}],
    }
    reader = FlowReader((), ["post"])
    program = WorkflowProgram(reader.flow(value), {}, tools=tuple(value["tools"]))
    trail = MemoryTrail()
    with recording(trail):
        id = (await program({})).episode
        kept: Trail = MemoryTrail()
        await kept.append(trail.read(id)[:2])  # it was called, and nobody knows more
        with recording(kept):
            answer = await program({})
            assert answer.failure is not None
            assert answer.failure.where == "waiting"
            last = kept.read(id)[-1]
            await kept.append([Event(id, last.seq + 1, "steered", {"do": "say", "text": "it was sent"}, 0.0)])
            assert (await program({})).output == "it was sent"


async def test_a_coordinator_writes_the_workflow(tmp_path: Path) -> None:
    said = [
        json.dumps({"steps": [{"agent": "nobody", "task": "x", "output": "y"}]}),
        json.dumps(
            {
                "steps": [
                    {"agent": "researcher", "task": "find", "inputs": ["task"], "output": "facts"},
                    {"agent": "writer", "task": "write", "inputs": ["facts"], "output": "final_output"},
                ]
            }
        ),
    ]
    coordinator = Says(lambda text: said.pop(0))
    agents = {
        "coordinator": coordinator,
        "researcher": Says(lambda text: f"facts of ({text})"),
        "writer": Says(lambda text: f"text with ({text})"),
    }
    program = flow({"inputs": ["task"], "coordinator": "coordinator"}, **agents)
    answer = await program("bees")
    assert answer.output == "text with (write\n\nfacts: facts of (find\n\ntask: bees))"
    assert "nobody" in coordinator.asked[1]


async def test_from_file_to_folder_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(
        "workflow: w\ninputs: [topic]\nagents:\n  a: {policy: {name: scripted, calls: [], output: said}}\n"
        "tools: [calculator]\nsteps:\n  - {agent: a, task: 'of {{ topic }}', output: x}\n"
    )
    program = read_workflow(file, Pool())
    folder = programs.save(program, tmp_path / "out", notes={"fields": ["topic"]})
    again = programs.load(folder, Pool())
    assert programs.fingerprint(again) == programs.fingerprint(program)
    assert (await again({"topic": "x"})).output == "said"
    assert (await again({"topic": "x", "other": "y"})).output == "said"
    with pytest.raises(InputError):
        await again({})
    with pytest.raises(InputError):
        program.inputs({"topic": "x", "other": "y"})


async def test_children_are_episodes_of_the_run() -> None:
    reader = FlowReader(["a"], ())
    made = reader.flow({"steps": [{"agent": "a", "task": "go", "output": "x"}]})
    from rung.agents.program.file import make_agent

    agent = make_agent({"policy": {"name": "scripted", "calls": [], "output": "said"}}, Pool())
    trail = MemoryTrail()
    with recording(trail):
        answer = await WorkflowProgram(made, {"a": agent})({})
    begun = [events[0].payload for events in trail._events.values()]
    assert {payload["parent"] for payload in begun} == {"", answer.episode}


def test_graphs_name_every_step() -> None:
    program = flow(
        {
            "inputs": ["t"],
            "steps": [
                {"agent": "a", "task": "{{ t }}", "output": "x"},
                {"when": "x", "then": [{"value": "'<1>'", "output": "y"}], "else": [{"value": "2", "output": "y"}]},
                {"repeat": [{"vote": ["a"], "task": "{{ x }}", "output": "z"}], "most": 2},
            ],
        },
        a=Says(lambda _: ""),
    )
    text = mermaid(program.flow)
    assert text.startswith("flowchart LR")
    assert "s0 -- x --> s1" in text
    picture = svg(program.flow)
    assert picture.count("<rect") == 5
    assert "&lt;1&gt;" in picture


async def test_usage_is_counted_once_also_after_a_break() -> None:
    class Costs(Says):
        async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
            model = Script(["x"])
            from rung.core.types import Message, Request

            await model.generate([Request((Message("user", "a b"),))])
            return Answer("x")

    program = flow({"steps": [{"agent": "a", "task": "go", "output": "x"}]}, a=Costs(lambda _: ""))
    trail = MemoryTrail()
    with recording(trail):
        first, second = await program({}), await program({})
    assert first.usage == second.usage
    assert first.usage.calls == 1
