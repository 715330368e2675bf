"""An agent as a program: its identity is policy, tools, environment, limits and memory; an input is an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from rung.agents.environments.environment import Environment
from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.guard.guard import CallGuard
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import AgentPolicy
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.memory.memory import Memory
from rung.agents.policies.choice import describe, make_policy, models
from rung.agents.program.conversation import converse
from rung.agents.program.member import Member, ProgramMember, load_member
from rung.agents.tools import open_tools
from rung.agents.tools.net.post import post
from rung.agents.trace.steps import steps
from rung.core.codec import decode, digest, encode
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts import registry
from rung.core.parts.place import here, within
from rung.core.protocols import Model, Resources, Tool
from rung.core.types import Answer, Failure, Input, Message, as_input
from rung.core.types.trail import Event, MemoryTrail, caller, trail

Choice = str | Mapping[str, Any]
"""A part by name, ``NAME:TARGET`` (tools), or {name: NAME, option: value, ...}."""


def make_environment(choice: Choice) -> Environment:
    """A new environment; one that is opened by data is ``NAME:FOLDER``. Raises InputError for a name or an option that
    there is not."""
    name, options = _split(choice, "environment")
    if isinstance(choice, str) and ":" in choice:
        name, _, folder = choice.partition(":")
        options = {"folder": folder}
    made = registry.load("environment", name)
    try:
        world: Environment = made(**options)
    except TypeError as error:
        raise InputError(f"environment {name}: {error}", remedy="see docs/agents.md for its options") from None
    return world


def make_memory(choice: Choice) -> Memory:
    """A memory. Raises InputError for a name or an option that there is not."""
    name, options = _split(choice, "memory")
    try:
        made: Memory = registry.load("memory", name)(**options)
    except TypeError as error:
        raise InputError(f"memory {name}: {error}", remedy="see docs/agents.md for its options") from None
    return made


def _split(choice: Choice, kind: str) -> tuple[str, dict[str, Any]]:
    if isinstance(choice, str):
        return choice, {}
    if not isinstance(choice, Mapping) or not isinstance(choice.get("name"), str):
        raise InputError(f"got {kind} {choice!r}", remedy="write its name, or {name: NAME, option: value}")
    return choice["name"], {key: value for key, value in choice.items() if key != "name"}


@dataclass(eq=False)
class AgentProgram:
    """Answers an input by one episode. Inside ``recording`` the episode is kept and goes on where it was when the same
    input is asked again; an input's field ``scenario`` says which one of the environment it is, ``user`` whose memory
    it reads, all others are the request."""

    kind: ClassVar[str] = "agent"

    policy: AgentPolicy
    _: KW_ONLY
    tools: tuple[Choice, ...] = ()
    environment: Choice | None = None
    limits: EpisodeLimits = field(default_factory=EpisodeLimits)
    memory: Choice | None = None
    guard: CallGuard | None = None
    members: Mapping[str, Member] = field(default_factory=dict)
    mailbox: str = ""
    place: Path = field(default_factory=lambda: here().folder or Path(), repr=False)
    """Where files that its tools name are looked up."""

    def __post_init__(self) -> None:
        if self.guard is not None:
            self.guard.check([spec.name for spec in self.toolset.specs])

    @property
    def model(self) -> Model | None:
        asked = models(self.policy)
        return asked[0] if asked else None

    @cached_property
    def opened(self) -> tuple[Tool, ...]:
        with within(self.place, here().store):
            given = [tool for choice in self.tools for tool in open_tools(choice)]
        return (*given, *self.members.values(), *(post() if self.mailbox else ()))

    @property
    def returns(self) -> Literal["trusted", "untrusted"]:
        """What it says may be somebody else's words where one of its tools gives such."""
        return "untrusted" if any(tool.returns == "untrusted" for tool in self.opened) else "trusted"

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"policy": describe(self.policy), "limits": encode(self.limits)}
        for name in ("tools", "environment", "memory", "guard", "mailbox"):
            if value := getattr(self, name):
                spec[name] = encode(value)
        if self.members:
            spec["members"] = {name: member.spec() for name, member in self.members.items()}
        # A tool that says something else of itself is another tool, and its agent another agent.
        spec["definitions"] = self.toolset.definitions()
        return spec

    @cached_property
    def toolset(self) -> Toolset:
        """The tools of every episode: those that were given, and the names of the environment's."""
        return Toolset(self.opened, self._world())

    def files(self) -> Mapping[str, Path | bytes]:
        inner = (member.program.files() for member in self.members.values() if isinstance(member, ProgramMember))
        own = {name: self.place / name for name in map(_file, self.tools) if name and (self.place / name).is_file()}
        return {**own, **{name: file for files in inner for name, file in files.items()}}

    @property
    def fields(self) -> tuple[str, ...]:
        """What an input holds: a request, or which scenario of the environment."""
        return ("request",) if self.environment is None else ("scenario",)

    def _world(self) -> Environment | None:
        return make_environment(self.environment) if self.environment is not None else None

    @cached_property
    def identity(self) -> str:
        return programs.fingerprint(self)

    def agent(self) -> Agent:
        """What an episode of it needs, with an environment of its own."""
        world = self._world()
        memory = make_memory(self.memory) if self.memory is not None else None
        spec = {"kind": self.kind, "spec": self.spec()}
        return Agent(
            self.policy, self.toolset, world, self.limits, memory, self.guard, self.mailbox, self.identity, spec
        )

    def start(self, input: Input | str, repeat: int = 0) -> Start:
        """The beginning of the episode that answers an input."""
        given = dict(as_input(input, ("request",)))
        scenario, user = given.pop("scenario", ""), given.pop("user", "")
        request = "\n".join(given.values()) if len(given) <= 1 else "\n".join(f"{k}: {v}" for k, v in given.items())
        return Start(request, str(scenario), repeat, user=str(user))

    def episode(self, start: Start, conversation: str = "") -> str:
        """The id of the episode that begins so: the same for the same agent and input, unless ``conversation``
        differs."""
        whose = [start.user] if start.user else []
        return digest([self.identity, start.request, start.scenario, start.seed, conversation, *whose])[:20]

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        start, who, agent = self.start(input, repeat), caller(), self.agent()
        kept = trail() or MemoryTrail()
        id = self.episode(start)
        if who is not None:  # a child of who asks, with what it may still spend
            start, kept, id = replace(start, parent=who.episode), who.trail, self.episode(start, who.key)
            if who.tokens is not None:
                tokens = min(who.tokens, who.tokens if agent.limits.tokens is None else agent.limits.tokens)
                agent = replace(agent, limits=replace(agent.limits, tokens=tokens))
        events: list[Event] = []
        episode = Episode(agent, id, kept, events.append)
        before = kept.read(id)
        view = await episode.run(start)
        return answer(view, id, [*before, *events])

    @cached_property
    def _conversations(self) -> MemoryTrail:
        return MemoryTrail()

    @property
    def converses(self) -> bool:
        """An agent in an environment does what that asks, and talks with nobody."""
        return self.environment is None

    async def converse(self, messages: Sequence[Message], *, owner: str = "") -> Answer:
        """The answer to the last message of a conversation, which is one episode (see ``conversation``). Outside of
        ``recording`` it is kept for as long as this program lives."""
        return await converse(self, messages, trail() or self._conversations, owner)

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        with within(folder, here().store):
            return cls._load(spec, folder, resources)

    @classmethod
    def _load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Self:
        made = cls(
            make_policy(spec["policy"], resources),
            tools=tuple(spec.get("tools", ())),
            environment=spec.get("environment"),
            limits=decode(EpisodeLimits, spec["limits"]),
            memory=spec.get("memory"),
            guard=decode(CallGuard, spec["guard"]) if "guard" in spec else None,
            members={
                name: load_member(name, inner, folder, resources) for name, inner in spec.get("members", {}).items()
            },
            mailbox=spec.get("mailbox", ""),
        )
        now = made.spec()["definitions"]
        changed = sorted(name for name, hash in spec["definitions"].items() if now.get(name) != hash)
        if changed:
            raise InputError(
                f"tool {changed[0]!r} says something else of itself than when the agent was saved",
                remedy="look at what it says now, then make the agent anew",
                code="tool-changed",
            )
        return made

    async def close(self) -> None:
        """Close the tools that hold something open."""
        await self.toolset.close()


def _file(choice: Choice) -> str:
    """The file beside the agent that a tool is made of, where it is one that belongs to it."""
    name, _, target = (
        choice.partition(":") if isinstance(choice, str) else (choice.get("name"), "", choice.get("target", ""))
    )
    file = (
        str(target).rpartition(":")[0] if name in ("python", "langchain") else str(target) if name == "openapi" else ""
    )
    inside = file and not Path(file).is_absolute() and ".." not in Path(file).parts and "://" not in file
    return file if inside else ""


def answer(view: View, episode: str, events: Sequence[Event]) -> Answer:
    """An episode as an answer; one that is paused or waits for a person has not failed: it goes on when it is run
    again."""
    shown, used = steps(events), view.usage
    if view.ended is None:
        what = view.waiting or f"paused; go on with: rung agent resume {episode}"
        return Answer(None, "", shown, used, Failure("waiting", what, "waiting"), episode=episode)
    output, stopped = view.ended.get("output"), view.ended.get("stopped")
    failure = None
    if output is None:
        output = "" if view.ended.get("verdict") is not None else None
        if output is None:
            ended = f"the episode ended at its limit: {stopped}" if stopped else "the agent ended"
            failure = Failure("program", f"{ended}, without an output", "no-output")
    raw = output if isinstance(output, str) else ""
    return Answer(output, raw, shown, used, failure, episode=episode)
