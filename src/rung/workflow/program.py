"""A workflow as a program: climbed beside prompts, exported to a folder, served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from rung.agents.program.member import make_program
from rung.agents.tools import open_tools
from rung.agents.trace.steps import steps
from rung.core.codec import decode, digest, encode, spell
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.place import here, within
from rung.core.parts.problem import Problems, nearest
from rung.core.protocols import Closing, Model, Program, Resources, Tool
from rung.core.text.reply import read_reply
from rung.core.types import Answer, Failure, Input, ResponseFormat
from rung.core.types.trail import Driver, MemoryTrail, caller, trail
from rung.tasks.file.yaml import Location, parse
from rung.workflow.definition import Flow, FlowReader
from rung.workflow.log import FlowLog, Halted, StepFailed
from rung.workflow.run import FlowRun


@dataclass(eq=False)
class WorkflowProgram:
    """Answers an input by one run of a workflow. A single text is the first input. Inside ``recording`` the run is kept
    and goes on where it was when the same input is asked again. ``form``: what a text that comes out is read as."""

    kind: ClassVar[str] = "workflow"

    flow: Flow
    agents: Mapping[str, Program]
    _: KW_ONLY
    tools: tuple[Any, ...] = ()
    form: ResponseFormat = field(default_factory=ResponseFormat)

    @property
    def model(self) -> Model | None:
        return next((agent.model for agent in self.agents.values() if agent.model is not None), None)

    @cached_property
    def opened(self) -> dict[str, Tool]:
        return {tool.name: tool for choice in self.tools for tool in open_tools(choice)}

    @property
    def needed(self) -> tuple[str, ...]:
        """The inputs without a default."""
        return tuple(name for name, default in self.flow.inputs.items() if default is None)

    def spec(self) -> dict[str, Any]:
        return {
            "flow": encode(self.flow.given),
            "agents": {
                name: {**programs.nest(agent), "fingerprint": programs.fingerprint(agent)}
                for name, agent in self.agents.items()
            },
            "options": {"fields": list(self.needed or self.flow.inputs)},
            "form": encode(self.form),
        }

    def files(self) -> Mapping[str, Path | bytes]:
        return {name: file for agent in self.agents.values() for name, file in agent.files().items()}

    @cached_property
    def identity(self) -> str:
        return programs.fingerprint(self)

    def inputs(self, given: Input | str) -> dict[str, Any]:
        """The inputs by name, defaults filled in. Raises InputError for one that is missing or not known."""
        known = self.flow.inputs
        first = next(iter(known), "")
        values: dict[str, Any] = {first: given} if isinstance(given, str) else dict(given)
        for name in values:
            if name not in known:
                raise InputError(f"the workflow has no input {name!r}", remedy=nearest(name, known), code="no-input")
        for name in self.needed:
            if name not in values:
                raise InputError(
                    f"the input {name!r} is missing", remedy=f"give it: -i {name}=...", code="missing-input"
                )
        return {**known, **values}

    def run_id(self, inputs: Mapping[str, Any], repeat: int, conversation: str = "") -> str:
        """The id of the run of these inputs: the same for the same workflow, unless ``conversation`` differs."""
        return digest([self.identity, inputs, repeat, conversation])[:20]

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        if not isinstance(input, str):  # an example may have fields that this workflow does not read
            input = {name: value for name, value in input.items() if name in self.flow.inputs}
        inputs, who = self.inputs(input), caller()
        kept = who.trail if who is not None else trail() or MemoryTrail()
        id = self.run_id(inputs, repeat, who.key if who is not None else "")
        return await self.run(inputs, FlowLog(id, kept), parent=who.episode if who is not None else "")

    async def run(self, inputs: Mapping[str, Any], log: FlowLog, *, parent: str = "") -> Answer:
        """Run it, or go on with the run that the log is of. Raises Fenced where another process has it, StoreError and
        BudgetExceeded."""
        title = "; ".join(spell(value) for value in inputs.values()) or self.flow.name
        driver = Driver(self.identity, title, parent)
        if log.ended is None:
            await self._begin(log, inputs, driver)
            try:
                output, stopped = await FlowRun(self.flow, self.agents, self.opened, log).run(inputs), ""
            except StepFailed as failed:
                output, stopped = None, failed.message
            except Halted as halted:
                if halted.do != "stop":
                    failure = Failure(
                        "waiting", f"{halted.message}; go on with: rung workflow resume {log.id}", halted.do
                    )
                    return Answer(None, "", steps(log.events), log.usage, failure, episode=log.id)
                output, stopped = None, "a person has stopped it"
            await log.note("ended", {"output": encode(output), "stopped": stopped, "verdict": None})
        return self._answer(log)

    async def _begin(self, log: FlowLog, inputs: Mapping[str, Any], driver: Driver) -> None:
        if log.events:
            began = log.events[0].payload.get("agent", "")
            if began != self.identity:
                raise InputError(
                    f"run {log.id} was begun by another workflow ({began[:8]}, this is {self.identity[:8]})",
                    remedy="resume it with the workflow as it was, or begin anew",
                    code="agent-changed",
                )
            await log.note("resumed", {}, driver)
            return
        begun: dict[str, Any] = {"request": driver.title, "scenario": "", "seed": 0, "parent": driver.parent}
        if (folder := here().folder) is not None:
            begun["folder"] = str(folder.absolute())
        spec = {"kind": self.kind, "spec": self.spec()}
        await log.note("begun", {**begun, "agent": self.identity, "spec": spec, "inputs": encode(inputs)}, driver)

    def _answer(self, log: FlowLog) -> Answer:
        assert log.ended is not None
        output, stopped = log.ended.payload["output"], log.ended.payload["stopped"]
        shown = steps(event for event in log.events if event.kind != "ended")
        if stopped:
            return Answer(None, "", shown, log.usage, Failure("program", stopped, "step-failed"), episode=log.id)
        raw, failure = output if isinstance(output, str) else "", None
        if self.form.closed and isinstance(output, str):
            output, complaint = read_reply(self.form, output)
            failure = Failure("parse", complaint) if complaint else None
        return Answer(output, raw, shown, log.usage, failure, episode=log.id)

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        agents = {name: programs.unnest(inner, folder, resources) for name, inner in spec["agents"].items()}
        return cls(
            *_built(spec["flow"], agents, None, {}),
            tools=tuple(spec["flow"].get("tools") or ()),
            form=decode(ResponseFormat, spec.get("form") or {}),
        )

    async def close(self) -> None:
        """Close what the agents and tools hold open."""
        for agent in self.agents.values():
            if (close := getattr(agent, "close", None)) is not None:
                await close()
        for tool in self.opened.values():
            if isinstance(tool, Closing):
                await tool.close()


def read_workflow(file: Path, resources: Resources) -> WorkflowProgram:
    """The workflow of a file. Raises InputError with the line of the first mistake."""
    problems = Problems()
    program = examine(file, resources, problems)
    problems.demand(file)
    assert program is not None
    return program


def examine(file: Path, resources: Resources, problems: Problems) -> WorkflowProgram | None:
    """The workflow of a file, or None; everything that is wrong with it goes to ``problems``."""
    parsed = parse(file, problems, "workflow", "docs/workflows.md has a whole one")
    if parsed is None:
        return None
    value, lines = parsed
    agents: dict[str, Program] = {}
    given = value.get("agents") or {}
    if not isinstance(given, Mapping):
        problems.add("agents is no mapping", "write agents: {NAME: FILE}", file=file, line=lines.get(("agents",)))
        return None
    with within(file.parent, here().store):
        for name, choice in given.items():
            try:
                made = {"file": choice} if isinstance(choice, str) else dict(choice or {})
                agents[name] = make_program(made, resources, f"agent {name}")
            except InputError as error:
                place = error.file or file, error.line or lines.get(("agents", name))
                problems.add(error.said, error.remedy, file=place[0], line=place[1], code=error.code)
        if problems.failed:
            return None
        try:
            flow, agents = _built(value, agents, file, lines, problems)
        except InputError as error:
            problems.add(error.message, error.remedy, file=file, line=lines.get(("tools",)), code=error.code)
            return None
    return None if problems.failed else WorkflowProgram(flow, agents, tools=tuple(value.get("tools") or ()))


def _built(
    value: Mapping[str, Any],
    agents: dict[str, Program],
    file: Path | None,
    lines: Mapping[Location, int],
    problems: Problems | None = None,
) -> tuple[Flow, dict[str, Program]]:
    """The checked flow. Raises InputError for its first mistake where nobody collects them."""
    tools = [tool.name for choice in value.get("tools") or () for tool in open_tools(choice)]
    reader = FlowReader(agents, tools, file, lines)
    flow = reader.flow(value)
    if problems is None:
        reader.problems.demand(file or Path("workflow"))
    else:
        problems.extend(reader.problems)
    return flow, agents
