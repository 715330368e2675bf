"""What cheat sheets of LangChain show, on rung: ``from rung.langchain import LangChain, Agent, Task, Pipeline``.

No release of LangChain has these names at its top; snippets that use them run with this import instead. A Pipeline is a
workflow, and an Agent an agent, both as their files say it, so that what was tried here can be saved, climbed and
served. (LangChain's own tools and Runnables are used by config: ``langchain:FILE.py:NAME``.)
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from rung.agents.program.file import make_agent
from rung.core.codec import spell
from rung.core.errors import InputError, RungError
from rung.core.protocols import Model, Program
from rung.core.settings import Settings
from rung.core.system.files import write_file
from rung.core.types import Answer, Input, Message, Request, Sampling
from rung.foundations.text.yaml import read_yaml
from rung.models import Pool
from rung.workflow.definition import FlowReader
from rung.workflow.program import WorkflowProgram

T = TypeVar("T")

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GOOGLE_API_KEY"}
"""Where each vendor's key is looked for."""


class LangChain:
    """A model to ask. ``model`` is provider:name (None: the setting ``model``); ``api_key`` is the key of a hosted
    one's vendor, and is not needed by a model on this machine. It may be used with or without a running event loop."""

    def __init__(self, api_key: str = "", *, model: str | None = None, settings: Settings | None = None) -> None:
        self.pool = Pool(settings, default=model)
        if api_key and (variable := KEYS.get(self.pool.default.partition(":")[0])):
            os.environ[variable] = api_key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def generate_response(self, message: str, *, max_tokens: int = 256) -> str:
        """The model's reply to one message. Raises ModelError."""
        request = Request((Message("user", message),), Sampling(max_tokens=max_tokens))
        return self.wait(self.pool.model().generate([request]))[0].text

    def wait(self, work: Awaitable[T]) -> T:
        """What comes of ``work``, done in this object's own event loop."""

        async def done() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

    def close(self) -> None:
        """Let go of the models."""
        if self._loop.is_running():
            self.wait(self.pool.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class LangChainAgent:
    """An agent over a LangChain: it responds to messages, with ``tools`` where it has some. Subclasses say ``respond``
    otherwise."""

    def __init__(
        self, lc: LangChain, *, name: str = "", instruction: str = "", tools: Sequence[str | Mapping[str, Any]] = ()
    ) -> None:
        self.lc, self.instruction, self.tools = lc, instruction, tuple(tools)
        self.name = name or type(self).__name__.lower()

    def respond(self, message: str) -> str:
        """Raises RungError where it has no answer."""
        if not self.instruction and not self.tools:
            return self.lc.generate_response(message)
        answer = self.lc.wait(_attempt(make_agent(self.document(), self.lc.pool), message))
        if answer.failure is not None:
            raise RungError(answer.failure.message, code=answer.failure.code or answer.failure.where)
        return spell(answer.output)

    def document(self) -> dict[str, Any]:
        """What an agent file says of it. Raises InputError for one whose ``respond`` is Python."""
        if type(self).respond is not LangChainAgent.respond:
            raise InputError(
                f"the agent {self.name} responds by Python code, which no file can say",
                remedy="give it instruction= and tools= instead",
                code="python-agent",
            )
        if not self.tools:
            return {"prompt": self.instruction or "Answer the request."}
        given = {"policy": "llm", "instruction": self.instruction, "tools": [*self.tools]}
        return {key: value for key, value in given.items() if value}

    def save(self, file: str | Path) -> Path:
        """Write it as an agent file, for rung agent run."""
        return _write(Path(file), self.document())


async def _attempt(program: Program, message: str) -> Answer:
    return await program(message)


@dataclass
class _Responding:
    """An agent whose ``respond`` is Python, as a program inside a workflow of this process."""

    kind: ClassVar[str] = "python"

    agent: LangChainAgent

    @property
    def model(self) -> Model | None:
        return None

    def spec(self) -> dict[str, Any]:
        return {"class": type(self.agent).__qualname__, "module": type(self.agent).__module__}

    def files(self) -> Mapping[str, Path | bytes]:
        return {}

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        message = input if isinstance(input, str) else "\n".join(input.values())
        # In a thread: ``respond`` waits for what the event loop of its LangChain does.
        return Answer(await asyncio.to_thread(self.agent.respond, message))


@dataclass(frozen=True)
class LangChainTask:
    """A step: what an agent is to do. ``description`` is a template over the pipeline's inputs and earlier outputs;
    those named in ``inputs`` are shown below it. ``output`` names what comes of it."""

    description: str
    agent: LangChainAgent
    output: str
    inputs: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        step = {"agent": self.agent.name, "task": self.description, "output": self.output}
        return step | ({"inputs": list(self.inputs)} if self.inputs else {})


@dataclass
class Pipeline:
    """Tasks in the order in which they need one another; what the last one gives is the result."""

    tasks: Sequence[LangChainTask]
    inputs: Sequence[str] = ()
    name: str = "pipeline"
    _made: WorkflowProgram | None = field(default=None, repr=False)

    def run(self, **inputs: str) -> Any:
        """What comes out. Raises InputError for a pipeline that cannot run, RungError where a task failed."""
        answer = self.tasks[0].agent.lc.wait(_attempt_all(self.program(), inputs)) if self.tasks else None
        if answer is None:
            raise InputError("the pipeline has no tasks", remedy="Pipeline([Task(...)])", code="no-tasks")
        if answer.failure is not None:
            raise RungError(answer.failure.message, code=answer.failure.code or answer.failure.where)
        return answer.output

    def program(self) -> WorkflowProgram:
        """The workflow. Raises InputError for its first mistake."""
        if self._made is None:
            agents = {agent.name: _program(agent) for agent in self._agents()}
            reader = FlowReader(agents, ())
            flow = reader.flow({key: value for key, value in self._document({}).items() if key != "agents"})
            reader.problems.demand(Path(self.name))
            self._made = WorkflowProgram(flow, agents)
        return self._made

    def save(self, file: str | Path) -> Path:
        """Write it as a workflow file, for rung workflow run, rung climb and rung serve."""
        return _write(Path(file), self._document({agent.name: agent.document() for agent in self._agents()}))

    def _document(self, agents: Mapping[str, Any]) -> dict[str, Any]:
        given = {"workflow": self.name, "inputs": list(self.inputs), "agents": dict(agents)}
        return {**given, "steps": [task.document() for task in self.tasks]}

    def _agents(self) -> list[LangChainAgent]:
        found: dict[str, LangChainAgent] = {}
        for task in self.tasks:
            if found.setdefault(task.agent.name, task.agent) is not task.agent:
                raise InputError(
                    f"two agents are called {task.agent.name}", remedy="give each a name=", code="name-twice"
                )
        return list(found.values())


def _program(agent: LangChainAgent) -> Program:
    from rung.agents.program.member import make_program

    if type(agent).respond is not LangChainAgent.respond:
        return cast(Program, _Responding(agent))  # it cannot be loaded, and is never saved
    return make_program(agent.document(), agent.lc.pool, agent.name)


async def _attempt_all(program: WorkflowProgram, inputs: Mapping[str, str]) -> Answer:
    return await program(dict(inputs))


def load_pipeline(file: str | Path, lc: LangChain) -> Pipeline:
    """A pipeline that ``save`` wrote. Raises InputError for a file that says more than a pipeline can."""
    path = Path(file)
    try:
        value = read_yaml(path.read_text(encoding="utf-8"))
        agents = {
            name: LangChainAgent(
                lc, name=name, instruction=one.get("prompt", one.get("instruction", "")), tools=one.get("tools", ())
            )
            for name, one in value["agents"].items()
        }
        tasks = [
            LangChainTask(one["task"], agents[one["agent"]], one["output"], tuple(one.get("inputs", ())))
            for one in value["steps"]
        ]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"no pipeline: {type(error).__name__}: {error}", file=path, remedy=f"type: rung workflow run {path}"
        ) from None
    return Pipeline(tasks, value.get("inputs", ()), str(value.get("workflow", "pipeline")))


def _write(file: Path, document: Mapping[str, Any]) -> Path:
    import yaml

    write_file(file, yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode())
    return file


Agent = LangChainAgent
Task = LangChainTask
