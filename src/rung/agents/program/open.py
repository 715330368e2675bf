"""An agent from what a person types, or from the first event of an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rung.agents.loop.episode import Start
from rung.agents.program.file import make_agent, read_agent
from rung.agents.program.program import AgentProgram, make_environment
from rung.agents.trace.replay import start_of
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.place import within
from rung.core.parts.problem import nearest
from rung.core.parts.program import load
from rung.core.protocols import Program, Resources
from rung.core.types.trail import Event
from rung.foundations.text.yaml import read_yaml


@dataclass(frozen=True)
class Target:
    """An agent and what it is to begin with; ``folder``: where its files are looked up."""

    program: AgentProgram
    start: Start
    folder: Path | None = None


def open_program(target: str, changes: Mapping[str, Any], resources: Resources) -> tuple[Program, Path]:
    """The program of an agent file or of a folder, and the folder that its files lie in. Raises InputError."""
    parts = {name: value for name, value in changes.items() if name not in ("scenario", "seed")}
    place = Path(target)
    if place.is_dir():
        if parts:
            raise InputError(
                f"{target} is a program as it was exported: {', '.join(parts)} cannot be changed",
                remedy="change the agent's file and export it again",
            )
        with within(place):
            return load(place, resources), place
    if not place.is_file():
        raise InputError(f"there is no file or folder {target}", remedy="name an agent file or a program's folder")
    return read_agent(place, resources, parts), place.parent


def open_target(target: str, request: str, changes: Mapping[str, Any], resources: Resources) -> Target:
    """``ENVIRONMENT:SCENARIO`` or ``ENVIRONMENT:FOLDER``, an agent file (YAML without ``data:``), a folder that an
    agent was exported to, or a task, whose examples are its scenarios.

    Raises InputError for what there is not.
    """
    parts = dict(changes)
    scenario, seed = str(parts.pop("scenario", "") or ""), int(parts.pop("seed", 0))
    user = str(parts.pop("user", "") or "")
    name, _, number = target.partition(":")
    environments = registry.table("environment")
    if name in environments and not Path(target).exists() and (number or name not in registry.table("pack")):
        if number and Path(number).expanduser().exists():  # it is opened by data
            program = make_agent({"environment": target, **parts}, resources)
            number = scenario or make_environment(target).scenarios("dev", 1)[0]
        elif "/" in number:
            raise InputError(f"there is no file or folder {number}", remedy=f"write {name}:FOLDER, or {name}:7")
        else:
            program = make_agent({"environment": name, **parts}, resources)
        return Target(program, Start(request, number or scenario or "0", seed, user=user))
    file = Path(target)
    if (file / "program.json").is_file():
        found, _ = open_program(target, parts, resources)
        if not isinstance(found, AgentProgram):
            raise InputError(f"{target} holds no agent but a {found.kind}", remedy=f'type: rung run {target} -i "..."')
        _ask(found, target, request)
        return Target(found, Start(request, scenario or ("0" if found.environment else ""), seed, user=user), file)
    if file.is_file() and file.suffix in (".yaml", ".yml") and not _is_task(file):
        program = read_agent(file, resources, parts)
        _ask(program, target, request)
        start = Start(request, scenario or ("0" if program.environment else ""), seed, user=user)
        return Target(program, start, file.parent)
    task = _task(target, request, scenario, seed, parts, resources)
    return replace(task, start=replace(task.start, user=user or task.start.user))


def _ask(program: AgentProgram, target: str, request: str) -> None:
    if program.environment is None and not request:
        raise InputError("nothing is asked of the agent", remedy=f'type: rung agent run {target} "what to do"')


def _is_task(file: Path) -> bool:
    try:
        value = read_yaml(file.read_text(encoding="utf-8"))
    except Exception:  # told with its line by whoever reads it
        return False
    return isinstance(value, Mapping) and "data" in value


def _task(target: str, request: str, scenario: str, seed: int, parts: dict[str, Any], resources: Resources) -> Target:
    from rung.tasks import load

    if ":" in target and not Path(target).exists():
        name = target.partition(":")[0]
        raise InputError(f"there is no environment {name!r}", remedy=nearest(name, registry.table("environment")))
    task = load(target)
    if not (task.environment or task.tools or request):
        raise InputError(
            f"task {task.name} names no environment and no tools", remedy="add environment: or tools: to it"
        )
    folder = Path(task.path).parent if task.path else None
    given = {
        "tools": task.tools,
        "environment": task.environment,
        "limits": task.limits,
        "instruction": task.instruction,
    }
    parts["limits"] = {**task.limits, **parts.get("limits", {})}
    with within(folder):
        program = make_agent({**given, **parts}, resources)
    example = next((one for one in task.test if scenario in ("", one.id, one.input.get("scenario"))), None)
    if example is None:
        known = ", ".join(one.id for one in task.test[:5])
        raise InputError(f"task {task.name} has no test scenario {scenario!r}", remedy=f"for example: {known}")
    start = program.start({**example.input, **({"request": request} if request else {})}, seed)
    return Target(program, start, folder)


def reopen(events: Sequence[Event], resources: Resources) -> tuple[AgentProgram, Start, Path | None]:
    """The agent of a recorded episode as it was, its beginning and its folder. Raises InputError where it cannot be
    made again."""
    begun = events[0].payload
    spec = begun.get("spec") or {}
    if spec.get("kind") != AgentProgram.kind:
        raise InputError(
            f"episode {events[0].episode} does not say what its agent was",
            remedy="go on with it where it was begun: climb the task again",
            code="no-agent",
        )
    folder = Path(begun["folder"]) if "folder" in begun else None
    with within(folder):
        program = AgentProgram.load(spec["spec"], folder or Path(), resources)
    return program, start_of(events[0]), folder
