"""The tools of one episode: those that were given and those of its environment, checked before anything leaves."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from rung.agents.environments.environment import Environment, Observation
from rung.agents.loop.move import Call, Waits
from rung.core.codec import digest, encode
from rung.core.errors import BudgetExceeded, InputError, RungError, StoreError
from rung.core.parts.problem import nearest
from rung.core.protocols import Asking, Closing, Effect, Probing, Tool
from rung.core.text.schema import check_schema, offence
from rung.core.types import ToolSpec

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CUT = re.compile(r" \[cut: [\d,]+ bytes, [\d,]+ are shown\]\Z")
_FLAT: dict[Any, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


class Toolset:
    """Tools by name; ``environment`` may bring some of its own. Raises InputError for two of one name or a schema that
    is none."""

    def __init__(self, tools: Sequence[Tool] = (), environment: Environment | None = None) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.volatile = frozenset(tool.name for tool in tools if tool.volatile)
        self.asking = frozenset(tool.name for tool in tools if isinstance(tool, Asking))
        self._at_once = frozenset(tool.name for tool in tools if getattr(tool, "at_once", False))
        self._given = tuple(ToolSpec(tool.name, tool.description, tool.schema) for tool in tools)
        self._offer(tuple(environment.tools()) if environment is not None else ())

    def _offer(self, own: tuple[ToolSpec, ...]) -> None:
        self._own, given = own, (*own, *self._given)
        names = [spec.name for spec in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"two tools are named {twice[0]!r}", remedy="leave one out", code="tool-twice")
        self.specs = given
        self._schemas = {spec.name: spec.schema for spec in given}
        self._checks = {spec.name: _checker(spec) for spec in given}

    def now(self, environment: Environment) -> Self:
        """The same where the environment's tools are these; else with those that it has in this scenario."""
        own = tuple(environment.tools())
        if own == self._own:
            return self
        other = copy.copy(self)
        other._offer(own)
        return other

    def definitions(self) -> dict[str, str]:
        """What each tool says of itself, as a hash by its name."""
        about = {name: (tool.effect, tool.returns, tool.volatile) for name, tool in self.tools.items()}
        return {
            spec.name: digest([spec.name, spec.description, encode(spec.schema), about.get(spec.name)])
            for spec in self.specs
        }

    def complaint(self, call: Call) -> str:
        """What is wrong with a call, as a sentence with a remedy; nothing where it may be made."""
        check = self._checks.get(call.tool)
        if check is None:
            return f"There is no tool {call.tool!r}: {nearest(call.tool, self._checks)}"
        return str(check(call.arguments))

    def effect(self, name: str) -> str:
        """The effect of a tool; what is done in an environment may be done again, its state is made anew with the
        episode."""
        tool = self.tools.get(name)
        return tool.effect if tool is not None else "keyed"

    def risk(self, name: str) -> tuple[Effect, Mapping[str, Any]]:
        """What a call does to the world, and the schema of its arguments; an environment's tools say it as
        ``x-effect``."""
        schema = self._schemas.get(name, {})
        tool = self.tools.get(name)
        effect = tool.effect if tool is not None else schema.get("x-effect", "keyed")
        return cast(Effect, effect), schema

    async def call(self, call: Call, key: str, environment: Environment | None, wait: float) -> Observation:
        """What a call gives. A RungError, and a tool that takes too long, are observations; other errors are the tool's
        defect and told as such."""
        tool = self.tools.get(call.tool)
        if tool is None:
            assert environment is not None
            return environment.step(call)
        try:
            if (
                call.tool in self._at_once
            ):  # a plain function cannot be stopped, and a timer costs more than most of them
                text = await tool.call(call.arguments, key=key)
            else:
                async with asyncio.timeout(None if call.tool in self.asking else wait):
                    text = await tool.call(call.arguments, key=key)
        except (BudgetExceeded, StoreError, Waits):
            raise
        except RungError as error:
            return Observation(f"{error.message}" + (f" ({error.remedy})" if error.remedy else ""), refused=True)
        except TimeoutError:
            return Observation(f"{call.tool} gave nothing within {wait:g} seconds and was stopped.", refused=True)
        except Exception as error:  # a defect of somebody's tool is no reason to lose the episode
            return Observation(f"{call.tool} failed: {type(error).__name__}: {error}", refused=True)
        return Observation(text if isinstance(text, str) else str(text), trust=tool.returns)

    async def probe(self, name: str, key: str) -> str | None:
        """What the call with this key gave, where the tool can tell."""
        tool = self.tools.get(name)
        return await tool.probe(key) if isinstance(tool, Probing) else None

    async def close(self) -> None:
        for tool in self.tools.values():
            if isinstance(tool, Closing):
                await tool.close()


def clean(text: str, most: int) -> str:
    """An observation as it is kept: no control characters, ``most`` bytes of it. One that was cut so stays as it is,
    for a replay hands it in again."""
    text = _CONTROL.sub("\ufffd", text)
    if len(text) * 4 <= most or len(data := text.encode()) <= most:
        return text
    if (cut := _CUT.search(text[-80:])) and len(data) <= most + len(cut[0]):
        return text
    return data[:most].decode(errors="ignore") + f" [cut: {len(data):,} bytes, {most:,} are shown]"


def _checker(spec: ToolSpec) -> Any:
    """Validates arguments: schemas of plain named values by hand (a tenth of the time), all others by
    ``core.reply``."""
    schema = dict(spec.schema) or {"type": "object"}
    if (wrong := check_schema(schema)) is not None:
        raise InputError(
            f"tool {spec.name}: its schema is none: {wrong.message}", remedy="give a JSON schema", code="tool-schema"
        )
    if schema.get("type") != "object":
        raise InputError(
            f"tool {spec.name}: the schema of its arguments says type {schema.get('type')!r}, expected object",
            remedy='write {"type": "object", "properties": {...}}',
            code="tool-schema",
        )
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = frozenset(schema.get("required", ()))
    plain = schema.keys() <= {"type", "properties", "required", "additionalProperties", "title", "description", "x-effect"} and all(
        isinstance(inner, Mapping) and inner.keys() <= {"type", "title", "description", "default", "enum", "x-seen", "x-target"}
        and inner.get("type") in _FLAT
        for inner in properties.values()
    )  # fmt: skip
    kinds: dict[str, tuple[Any, Any]] = (
        {name: (_FLAT[inner["type"]], inner.get("enum")) for name, inner in properties.items()} if plain else {}
    )

    def simple(arguments: Mapping[str, Any]) -> bool:
        for name, value in arguments.items():
            kind, enum = kinds.get(name, (None, None))
            if kind is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                return False
            if (enum is not None and value not in enum) or (isinstance(value, float) and not -1e308 <= value <= 1e308):
                return False
        return required <= arguments.keys()

    def check(arguments: Mapping[str, Any]) -> str:
        if plain and simple(arguments):
            return ""
        if "_raw" in arguments and "_raw" not in properties:
            return (
                f"{spec.name}: the arguments are no JSON object: give one with {', '.join(properties) or 'no names'}."
            )
        try:
            found = offence(schema, dict(arguments))
        except InputError as slow:  # a pattern that would not end
            return f"{spec.name}: its schema cannot be applied: {slow.message}"
        if found is None:
            return ""
        where = ".".join(map(str, found.path))
        names = ", ".join(f"{name}{'' if name in required else '?'}" for name in properties)
        return f"{spec.name}: {where + ': ' if where else ''}{found.message}. Give: {names or 'no arguments'}."

    return check
