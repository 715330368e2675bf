"""``python:FILE.py:NAME``: a typed Python function as a tool: its signature is the schema, its docstring the
description."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic.json_schema import PydanticJsonSchemaWarning

from rung.core.codec import spell
from rung.core.errors import InputError, RungError
from rung.core.parts.place import here
from rung.core.parts.problem import nearest
from rung.core.protocols import Effect
from rung.core.text.schema import offence

TARGET: Any = Field(json_schema_extra={"x-target": True})
"""``to: Annotated[str, TARGET]``: this argument says where the effect goes (a recipient, an account, an address), see
``CallGuard``."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class FunctionTool:
    """Calls ``function``, with its arguments read as its annotations say; a parameter named ``key`` gets the call's
    key.

    A plain function runs in the caller's thread: one that waits should be ``async``, so that it can be stopped.
    """

    function: Callable[..., Any]
    name: str
    description: str
    schema: Mapping[str, Any]
    effect: Effect
    returns: Literal["trusted", "untrusted"]
    volatile: bool
    arguments: Any
    keyed: bool

    @property
    def at_once(self) -> bool:
        """Whether it never waits: a plain function."""
        return inspect.isfunction(self.function) and not inspect.iscoroutinefunction(self.function)

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """What the function gives, as text. Raises InputError for arguments that its annotations refuse; whatever else
        the function raises is told by its type and message."""
        try:
            read = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"{self.name}: {where or 'arguments'}: {first['msg']}",
                remedy=f"its arguments: {', '.join(self.schema.get('properties', {})) or 'none'}",
                code="arguments",
            ) from None
        given = {name: getattr(read, name) for name in type(read).model_fields}
        try:
            value = self.function(**given, **({"key": key} if self.keyed else {}))
            if inspect.isawaitable(value):
                value = await value
        except RungError:
            raise
        except Exception as error:
            raise RungError(f"{self.name} failed: {type(error).__name__}: {error}", code="tool-failed") from error
        try:
            return spell(value)
        except (TypeError, ValueError) as error:
            raise RungError(
                f"{self.name} gave {type(value).__name__}, which has no form as text: {error}",
                remedy="return a text, a number, or what JSON has",
                code="tool-failed",
            ) from error


def tool(
    function: Callable[..., Any],
    *,
    name: str = "",
    description: str = "",
    effect: Effect = "pure",
    returns: Literal["trusted", "untrusted"] = "trusted",
    volatile: bool = False,
) -> FunctionTool:
    """Make a tool of a function. Every parameter needs an annotation that has a JSON form; the first paragraph of the
    docstring tells what it does.

    Raises InputError for a signature that has no schema.
    """
    title = name or getattr(function, "__name__", "")
    if not _NAME.fullmatch(title):
        raise InputError(f"{title!r} is no name for a tool", remedy="give name=, letters, digits, _ and -")
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (NameError, TypeError, ValueError) as error:
        raise InputError(f"tool {title}: cannot read the signature: {error}", remedy="annotate with types") from None
    fields: dict[str, tuple[Any, Any]] = {}
    for parameter in parameters.values():
        if parameter.name == "key":
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise InputError(f"tool {title}: parameter {parameter.name} has no name of its own", remedy="name each")
        if parameter.annotation is parameter.empty:
            raise InputError(
                f"tool {title}: parameter {parameter.name} has no type", remedy=f"write {parameter.name}: str"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default if default is ... else FieldInfo(default=default))
    try:
        made = create_model(title, __config__=ConfigDict(extra="forbid"), **cast(Any, fields))
        with warnings.catch_warnings():
            warnings.simplefilter("error", PydanticJsonSchemaWarning)
            schema = made.model_json_schema()
    except (PydanticUserError, PydanticJsonSchemaWarning, TypeError, ValueError) as error:
        raise InputError(
            f"tool {title}: no JSON schema: {error}", remedy="use types and defaults that JSON has"
        ) from None
    about = description or (inspect.getdoc(function) or title).split("\n\n")[0].replace("\n", " ")
    return FunctionTool(
        function, title, about, schema, effect, returns, volatile, made, keyed="key" in parameters
    )  # fmt: skip


def open_python(target: str = "", **options: Any) -> FunctionTool:
    """``MODULE:NAME`` or ``FILE.py:NAME`` (beside the task): a function, made a tool with ``options``, or a tool as it
    is."""
    found = load_attribute(target, "python")
    return found if isinstance(found, FunctionTool) else tool(found, **options)


def load_attribute(target: str, kind: str) -> Any:
    """What ``MODULE:NAME`` or ``FILE.py:NAME`` (beside the task) names; ``kind`` is what it is looked up for. Raises
    InputError for what is not there, or neither called nor listed."""
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise InputError(f"got {kind}:{target}", remedy=f"write {kind}:MODULE:NAME or {kind}:FILE.py:NAME")
    if place.endswith(".py"):
        path = here().path(place)
        spec = spec_from_file_location(path.stem, path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise InputError(f"there is no file {path}", remedy="paths are looked up beside the task or agent file")
        module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # a defect of somebody's file
            raise InputError(
                f"it cannot be run: {type(error).__name__}: {error}", file=path, code="broken-file"
            ) from None
    else:
        try:
            module = import_module(place)
        except ModuleNotFoundError as error:
            raise InputError(f"cannot import {place}: {error}", remedy=f"write {kind}:FILE.py:NAME") from None
    found = getattr(module, attribute, None)
    if found is None or (kind == "python" and not isinstance(found, FunctionTool) and not callable(found)):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise InputError(f"{place} has no function {attribute!r}", remedy=nearest(attribute, known))
    return found


def no_target(name: str, target: str) -> None:
    """Raises InputError where a tool that takes no target was given one."""
    if target:
        raise InputError(f"tool {name} takes no target, got {target!r}", remedy=f"write {name}")


def demand(name: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raises InputError (code ``arguments``, or ``slow-pattern``) for arguments that the schema refuses or cannot be
    held against."""
    found = offence(schema, dict(arguments))
    if found is not None:
        where = ".".join(map(str, found.path))
        raise InputError(
            f"{name}: {where + ': ' if where else ''}{found.message}",
            remedy=f"its arguments: {', '.join(schema.get('properties', {})) or 'none'}",
            code="arguments",
        )
