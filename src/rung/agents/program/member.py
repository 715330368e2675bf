"""Members of a team: other agents, programs and workers, each a tool of the agent that leads them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from rung.agents.loop.move import Waits
from rung.core.codec import decode, spell
from rung.core.errors import InputError, RungError
from rung.core.parts import program as programs
from rung.core.parts.place import here
from rung.core.parts.problem import nearest
from rung.core.protocols import Effect, Program, Resources
from rung.core.types import Answer, ResponseFormat, Sampling
from rung.core.types.trail import Fenced, caller

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"request": {"type": "string", "minLength": 1, "description": "What is asked, in full."}},
    "required": ["request"],
    "additionalProperties": False,
}
POLL = 0.05
"""Seconds between two looks into a box."""


@dataclass(frozen=True)
class ProgramMember:
    """A program (an agent, a prompt, a workflow) that is asked in words. An agent's episode is a child of the caller's,
    named after the call: asked again after a crash it goes on where it was."""

    volatile: ClassVar[bool] = False
    effect: ClassVar[Effect] = "keyed"
    asks: ClassVar[str] = "a program"
    schema: ClassVar[Mapping[str, Any]] = SCHEMA

    name: str
    description: str
    program: Program

    @property
    def returns(self) -> Literal["trusted", "untrusted"]:
        return getattr(self.program, "returns", "trusted")

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """What the program answers. Raises RungError where it fails, Waits where a person must decide something
        first."""
        try:
            answer: Answer = await self.program(str(arguments["request"]))
        except Fenced as error:  # another process goes on with the child; its parent is not this one's to steer
            raise Waits(error.message, "") from error
        if answer.failure is None:
            return spell(answer.output)
        if answer.failure.where == "waiting":
            raise Waits(f"{self.name} waits: {answer.failure.message}", answer.episode)
        raise RungError(f"{self.name} failed: {answer.failure.message}", code=answer.failure.code or "member-failed")

    async def close(self) -> None:
        if (close := getattr(self.program, "close", None)) is not None:
            await close()

    def spec(self) -> dict[str, Any]:
        about = {"about": self.description, **programs.nest(self.program)}
        return {**about, "fingerprint": programs.fingerprint(self.program)}


@dataclass(frozen=True)
class WorkerMember:
    """Workers in other processes (``rung agent work``), asked by letter to their box; what they send back is the
    answer. One that is killed at work is replaced by the next that looks into the box, which goes on with its
    episode."""

    volatile: ClassVar[bool] = False
    effect: ClassVar[Effect] = "keyed"
    asks: ClassVar[str] = "a box"
    schema: ClassVar[Mapping[str, Any]] = SCHEMA
    returns: ClassVar[Literal["trusted", "untrusted"]] = "untrusted"

    name: str
    description: str
    box: str
    wait: float = 600.0

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """What a worker sends back. Raises RungError where none has after ``wait`` seconds; the letter is withdrawn
        then."""
        who = caller()
        if who is None:
            raise RungError(f"{self.name} can only be asked within an episode", code="no-caller")
        mail, mine = who.trail.mail, f"answers/{key}"
        mail.send(self.box, mine, key, str(arguments["request"]))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.wait
        while not (found := mail.unread(mine, 1)):
            if loop.time() >= deadline:
                mail.withdraw(self.box, key)
                raise RungError(f"nobody has answered from {self.box} within {self.wait:g} seconds", code="no-answer")
            await asyncio.sleep(POLL)
        # It stays unread: should this process die before the answer is in the trail, it is found again.
        sort, _, text = found[0].text.partition("\n")
        if sort != "answer":
            raise RungError(f"{self.name} failed: {text}", code="member-failed")
        return text

    def spec(self) -> dict[str, Any]:
        return {"about": self.description, "box": self.box, "wait": self.wait}


Member = ProgramMember | WorkerMember


def make_member(name: str, choice: Any, resources: Resources) -> Member:
    """A member of ``FILE`` or ``FOLDER``, or of a mapping: {file: FILE}, {folder: FOLDER}, {box: NAME, wait: SECONDS},
    or an agent's own keys; each may say what it is for (``about``). Raises InputError for anything else."""
    given: dict[str, Any] = {"file": choice} if isinstance(choice, str) else dict(choice or {})
    about = str(given.pop("about", "") or "")
    if "box" in given:
        wait = given.get("wait", 600.0)
        if not isinstance(wait, int | float) or isinstance(wait, bool) or wait <= 0 or given.keys() - {"box", "wait"}:
            raise InputError(f"member {name}: got {given!r}", remedy="write {box: NAME, wait: 600, about: WORDS}")
        return WorkerMember(name, about or f"Workers at {given['box']}.", str(given["box"]), float(wait))
    program = make_program(given, resources, name)
    return ProgramMember(name, about or _about(program, name), program)


def make_program(given: Mapping[str, Any], resources: Resources, name: str) -> Program:
    """The program of {file: AGENT.yaml}, {folder: FOLDER}, {prompt: WORDS}, or of an agent's own keys. Raises
    InputError."""
    from rung.agents.program.file import make_agent, read_agent

    place = given.get("file", given.get("folder"))
    if "prompt" in given:
        return _prompt(given, resources, name)
    if place is None:
        if not given:
            raise InputError(f"{name} is nothing", remedy=f"write {name}: FILE.yaml, or {name}: {{policy: llm, ...}}")
        return make_agent(given, resources)
    if len(given) > 1:
        other = next(key for key in given if key not in ("file", "folder"))
        raise InputError(f"{name}: a file is named and `{other}` too", remedy=f"write `{other}` into {place}")
    path = here().path(str(place))
    if path.is_dir():
        return programs.load(path, resources)
    if not path.is_file():
        raise InputError(
            f"{name}: there is no file {path}", remedy="paths are looked up beside the file that names them"
        )
    return read_agent(path, resources)


def _prompt(given: Mapping[str, Any], resources: Resources, name: str) -> Program:
    """A model with an instruction: {prompt: WORDS, model: NAME, answer: {labels: [...]}, max_tokens: N}."""
    from rung.prompts.program import Options, PromptProgram
    from rung.prompts.template.prompt import Prompt

    known = ("prompt", "model", "answer", "max_tokens", "temperature")
    if unknown := sorted(given.keys() - set(known)):
        raise InputError(f"{name}: unknown key `{unknown[0]}`", remedy=nearest(unknown[0], known))
    try:
        form = _form(given.get("answer") or "text")
        sampling = decode(Sampling, {key: given[key] for key in ("max_tokens", "temperature") if key in given})
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}", remedy="write answer: {labels: [good, bad]}, or answer: number") from None
    sampling.check()
    options = Options(form, ("request",), sampling)
    return PromptProgram(Prompt(instruction=str(given["prompt"])), resources.model(given.get("model")), options)


def _form(answer: Any) -> ResponseFormat:
    """The form of an answer as a task file writes it: ``number``, {labels: [...]}, {json: SCHEMA}, {regex: PATTERN}."""
    kind, value = (answer, None) if isinstance(answer, str) else next(iter(dict(answer).items()), ("text", None))
    part = {"labels": "labels", "json": "schema", "regex": "pattern", "grammar": "pattern"}.get(kind)
    return decode(ResponseFormat, {"kind": kind, **({part: value} if part and value is not None else {})})


def load_member(name: str, spec: Mapping[str, Any], folder: Path, resources: Resources) -> Member:
    """Rebuild what ``spec`` of a member wrote."""
    if "box" in spec:
        return WorkerMember(name, spec["about"], spec["box"], spec["wait"])
    return ProgramMember(name, spec["about"], programs.unnest(spec, folder, resources))


def _about(program: Any, name: str) -> str:
    instruction = getattr(getattr(program, "policy", None), "instruction", "")
    instruction = instruction or getattr(getattr(program, "prompt", None), "instruction", "")
    return cast(str, instruction) or f"Ask {name}."
