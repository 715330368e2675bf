"""An agent file: policy, model, tools, environment, memory and limits of one agent, in YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung.agents.loop.guard.guard import read_guard
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.policies.choice import make_policy
from rung.agents.program.member import Member, make_member
from rung.agents.program.program import AgentProgram, make_environment, make_memory
from rung.agents.tools import open_tools
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.place import here, within
from rung.core.parts.problem import Problems, nearest
from rung.core.protocols import Resources
from rung.tasks.file.yaml import Location, parse

KEYS = ("policy", "model", "instruction", "tools", "environment", "memory", "guard", "limits", "team", "mailbox")


def read_agent(file: Path, resources: Resources, changes: Mapping[str, Any] | None = None) -> AgentProgram:
    """The agent of a file; ``changes`` replace what the file says. Raises InputError with the line of the mistake."""
    if not file.is_file():
        raise InputError(f"there is no agent file {file}", remedy="name a YAML file with policy:, tools:, ...")
    problems = Problems()
    parsed = parse(file, problems)
    problems.demand(file)
    value, lines = parsed or ({}, {})
    for key in value:
        if key not in KEYS:
            raise InputError(f"unknown key `{key}`", remedy=nearest(key, KEYS), file=file, line=lines.get((key,)))
    with within(file.parent, here().store):  # files that it names lie beside it
        return make_agent({**value, **(changes or {})}, resources, file, lines)


def make_agent(
    value: Mapping[str, Any],
    resources: Resources,
    file: Path | None = None,
    lines: Mapping[Location, int] | None = None,
) -> AgentProgram:
    """An agent of {policy, model, instruction, tools, environment, memory, guard, limits}. Raises InputError, at the
    line of a mistake where ``lines`` knows it."""

    def at(key: str, error: InputError) -> InputError:
        where = (lines or {}).get((key,))
        return InputError(error.message, remedy=error.remedy, file=file, line=where, code=error.code)

    tools, environment, memory = tuple(value.get("tools") or ()), value.get("environment"), value.get("memory")
    for key, make, given in (
        ("tools", open_tools, tools),
        ("environment", make_environment, (environment,) if environment else ()),
        ("memory", make_memory, (memory,) if memory else ()),
        ("guard", read_guard, (value["guard"],) if value.get("guard") else ()),
    ):
        for choice in given:
            try:
                make(choice)
            except InputError as error:
                raise at(key, error) from None
    try:
        limits = read_limits(value.get("limits") or {})
    except InputError as error:
        raise at("limits", error) from None
    given = value.get("policy", "llm")
    policy: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
    if value.get("instruction") and policy.get("name") == "llm":
        policy.setdefault("instruction", value["instruction"])
    try:
        made = make_policy(policy, resources, value.get("model"))
    except InputError as error:
        raise at("policy", error) from None
    members, mailbox = _team(value, resources, at)
    guard = read_guard(value["guard"]) if value.get("guard") else None
    try:
        return AgentProgram(
            made,
            tools=tools,
            environment=environment or None,
            limits=limits,
            memory=memory or None,
            members=members,
            mailbox=mailbox,
            guard=guard,
        )
    except InputError as error:
        if guard is None:
            raise
        raise at("guard", error) from None


def _team(
    value: Mapping[str, Any], resources: Resources, at: Callable[[str, InputError], InputError]
) -> tuple[dict[str, Member], str]:
    """The members and the mailbox of an agent."""
    team, mailbox = value.get("team") or {}, value.get("mailbox") or ""
    if not isinstance(team, Mapping) or not isinstance(mailbox, str):
        raise at("team", InputError("team is no mapping", remedy="write team: {NAME: FILE, ...} and mailbox: NAME"))
    members: dict[str, Member] = {}
    for name, choice in team.items():
        try:
            members[name] = make_member(name, choice, resources)
        except InputError as error:
            raise error if error.file else at("team", error) from None
    return members, mailbox


def read_limits(given: Mapping[str, Any], base: EpisodeLimits | None = None) -> EpisodeLimits:
    """EpisodeLimits of a mapping. Raises InputError for a name or a value that is none."""
    known = {name: getattr(base or EpisodeLimits(), name) for name in EpisodeLimits.__dataclass_fields__}
    for name in given:
        if name not in known:
            raise InputError(f"unknown limit {name!r}", remedy=nearest(name, known))
    read = {}
    for name, value in given.items():
        try:
            read[name] = getattr(decode(EpisodeLimits, {name: value}), name)
        except (TypeError, ValueError):
            example = {"calls": "{search: 3}", "loops": "false"}.get(name, "20")
            raise InputError(
                f"limit {name} is {value!r}, expected something like {example}",
                remedy=f"write limits: {{{name}: {example}}}",
            ) from None
    return replace(base or EpisodeLimits(), **read)
