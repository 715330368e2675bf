"""One call of a tool in stages, each of which a small model can do: shortlist, choose, think, fill in.

A small model that may answer instead never calls a tool; asked for a name by scores and then for the arguments under
that one tool's schema, it calls one every time. Each stage is an option, so that what it brings can be measured.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rung.agents.calls.chooser import CHOOSERS, Chooser, Weigh, best, question, weights
from rung.agents.calls.seen import Source, copied, narrow
from rung.agents.calls.shortlist import shortlist
from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Message, Reply, ResponseFormat, ToolSpec

Say = Callable[[tuple[Message, ...], ResponseFormat], Awaitable[Reply]]
"""Asks a model for a reply in a form."""

FINISH, ASK = "finish", "ask"
Arguments = Literal["all", "required"]
ARGUMENTS: tuple[Arguments, ...] = ("all", "required")

_KEYWORDS = frozenset((
    "$defs", "$ref", "additionalProperties", "allOf", "anyOf", "const", "default", "description", "enum",
    "exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maxLength", "maximum", "minItems",
    "minLength", "minimum", "oneOf", "pattern", "prefixItems", "properties", "required", "title", "type",
))  # fmt: skip
"""What is handed to a decoder of a tool's schema; what else stands there is for people and for ``rung``."""


@dataclass(frozen=True, slots=True)
class Staging:
    """The stages. ``shortlist``: at most so many tools are chosen among (0: all). ``chooser``: how. ``thought``: a
    sentence of at most 100 characters first. ``arguments``: all that the schema has, or the required ones alone.
    ``asks``: a question to a person is a choice too. ``none``: who says that no tool is right for a request at all, its
    words (see ``relevance``; the tools must be described in the language of the requests) or the model. ``prompt``:
    each stage is a question of its own, or the next turn of one conversation that only grows (what a model that is
    tuned on episodes has learnt from, at a fraction of the tokens). ``facts``: free texts may spell any number, id and
    address, or those alone that were seen."""

    shortlist: int = 16
    chooser: Chooser = "fused"
    thought: bool = False
    arguments: Arguments = "all"
    asks: bool = False
    none: Literal["words", "model"] = "words"
    prompt: Literal["question", "turns"] = "question"
    facts: Literal["free", "seen"] = "free"

    def __post_init__(self) -> None:
        if self.chooser not in CHOOSERS or self.arguments not in ARGUMENTS:
            raise InputError(
                f"got chooser {self.chooser!r} and arguments {self.arguments!r}",
                remedy="chooser: lexical, score, calibrated or fused; arguments: all or required",
            )
        if self.none not in ("words", "model"):
            raise InputError(f"got none: {self.none!r}", remedy="write none: words, or none: model")
        if self.prompt not in ("question", "turns") or self.facts not in ("free", "seen"):
            raise InputError(
                f"got prompt {self.prompt!r} and facts {self.facts!r}",
                remedy="prompt: question or turns; facts: free or seen",
            )
        if self.thought and self.prompt == "turns":
            raise InputError(
                "a thought has no place in prompt: turns", remedy="take prompt: question, or thought: false"
            )
        if self.shortlist < 0:
            raise InputError(f"got a shortlist of {self.shortlist}", remedy="expected 0 (all tools) or more")


@dataclass(frozen=True, slots=True)
class ChosenCall:
    """What was chosen: a tool's call, or FINISH or ASK (``call`` is None). ``reply`` is what the arguments were read
    from; where that could not be read (``call.arguments`` is empty), ``broken`` says so."""

    name: str
    call: Call | None = None
    thought: str = ""
    reply: str = ""
    broken: str = ""


@dataclass(frozen=True)
class Stages:
    """Makes calls by asking a model: ``say`` for replies, ``weigh`` for scores. ``turns``: the conversation that they
    go on with; without one each is a question of its own. ``known``: what was learned before, as lines (in a
    conversation they stand at its beginning)."""

    say: Say
    weigh: Weigh
    staging: Staging = Staging()
    turns: tuple[Message, ...] = ()
    known: str = ""

    async def choose(
        self, request: str, tools: Sequence[ToolSpec], *, context: str = "", finish: float | None = None
    ) -> str:
        """The name of one of the tools, FINISH or ASK. ``finish`` is what finishing weighs by words; None: it is no
        choice.

        Raises InputError where there is nothing to choose.
        """
        offered, others = choices(request, tools, self.staging, context=context, finish=finish)
        if not offered and not others:
            raise InputError("there is no tool to choose", remedy="give at least one")
        lines = [f"- {name}: {about}" for name, about, _ in others]

        def said(text: str) -> tuple[Message, ...]:
            if self.turns:
                return self.turns if text else (self.turns[0], Message("user", ""))
            return question(f"{text}\n{context}".strip() if text else "", offered, lines, self.known)

        scores = await weights(self.staging.chooser, self.weigh, request, offered, said, others)
        at = best(scores)
        if at < len(offered):
            return offered[at].name
        return FINISH if finish is not None and at == len(offered) else ASK

    async def fill(
        self, request: str, tool: ToolSpec, sources: Sequence[Source] = (), *, context: str = ""
    ) -> ChosenCall:
        """The call of one tool: a thought where the staging has one, then arguments under its schema, narrowed to what
        was seen."""
        schema = fillable(tool, sources, self.staging)
        if (only := forced(schema)) is not None:
            return ChosenCall(tool.name, Call(tool.name, only), reply=json.dumps(only, ensure_ascii=False))
        before, thought = asked(request, tool, schema, context, self.known), ""
        if self.turns:
            before = (*self.turns, Message("assistant", f"{tool.name}\n"))
        if self.staging.thought:
            said = await self.say(
                (*before, Message("user", "First say in one sentence what each argument is.")), ResponseFormat()
            )
            thought = " ".join(said.text.split())[:100]
            before = (*before[:-1], Message("user", f"{before[-1].content}\nThought: {thought}"))
        reply = await self.say(before, ResponseFormat("json", schema=schema))
        arguments, broken = parse(reply, tool.name)
        return ChosenCall(tool.name, Call(tool.name, arguments), thought, reply.text, broken)


def choices(
    request: str, tools: Sequence[ToolSpec], staging: Staging, *, context: str = "", finish: float | None = None
) -> tuple[list[ToolSpec], list[tuple[str, str, float]]]:
    """What is chosen among: the tools that fit the request and what happened since best, and others as (name, what it
    is for, its weight by words): FINISH unless ``finish`` is None, and ASK."""
    return shortlist(f"{request}\n{context}", tools, staging.shortlist), besides(tools, staging, finish)


def besides(tools: Sequence[ToolSpec], staging: Staging, finish: float | None) -> list[tuple[str, str, float]]:
    """What can be done beside calling one of the tools: (name, what it is for, its weight by words)."""
    others = [] if finish is None else [(free(FINISH, tools), "all is done, or no tool is right for this", finish)]
    if staging.asks:
        others.append((free(ASK, tools), "something must be asked of the user first", 0.0))
    return others


def fillable(tool: ToolSpec, sources: Sequence[Source], staging: Staging) -> dict[str, Any]:
    """The schema that a tool's arguments are decoded under after ``sources`` were seen."""
    narrowed = narrow(tool.schema, sources)
    schema = narrowed if narrowed is not None else tool.schema
    return closed(copied(schema, sources) if staging.facts == "seen" else schema, staging.arguments)


def called(name: str, arguments: Mapping[str, Any], tools: Iterable[ToolSpec]) -> str:
    """A call as a turn of a conversation: the name, and under it the arguments in the order in which they are
    decoded."""
    schema = next((tool.schema for tool in tools if tool.name == name), {})
    order = [*closed(schema, "all")["properties"], *arguments]
    return f"{name}\n{json.dumps({key: arguments[key] for key in order if key in arguments}, ensure_ascii=False)}"


def forced(schema: Any) -> dict[str, Any] | None:
    """The arguments where a schema (see ``closed``) leaves no choice: a model need not be asked. None: it leaves
    one."""
    properties: dict[str, Any] = schema["properties"]
    single = all(isinstance(inner, dict) and len(inner.get("enum", ())) == 1 for inner in properties.values())
    if not single or len(properties) > len(schema["required"]):
        return None
    return {name: inner["enum"][0] for name, inner in properties.items()}


def can_stage(model: Model) -> bool:
    """Whether a model does what the stages ask of it: scores, and JSON under a schema."""
    return model.capabilities.score and "json" in model.capabilities.forms


def parse(reply: Reply, tool: str) -> tuple[dict[str, Any], str]:
    """The arguments in a reply, and what is wrong with it as a sentence."""
    try:
        read = json.loads(reply.text)
    except (ValueError, RecursionError):
        read = None
    if reply.finish != "error" and isinstance(read, dict):
        return read, ""
    cut = "were cut at the length of a reply" if reply.finish == "length" else "are no JSON object"
    return {}, f"The arguments of {tool} {cut}: give one object with its names."


def callable_tools(tools: Iterable[ToolSpec], sources: Sequence[Source]) -> list[ToolSpec]:
    """The tools all of whose required arguments can be given with what was seen."""
    return [tool for tool in tools if narrow(tool.schema, sources) is not None]


def free(name: str, tools: Sequence[ToolSpec]) -> str:
    """The name, with lines under it until no tool has it."""
    taken = {tool.name for tool in tools}
    while name in taken:
        name += "_"
    return name


def closed(schema: Any, which: Arguments) -> dict[str, Any]:
    """The schema that arguments are decoded under: the required ones first, nothing that it does not name, no words
    that only ``rung`` understands."""
    properties, required = dict(schema.get("properties") or {}), list(schema.get("required", ()))
    order = [name for name in properties if name in required]
    order += [name for name in properties if name not in required] if which == "all" else []
    return {
        **{key: _plain(value) for key, value in schema.items() if key in ("$defs",)},
        "type": "object",
        "properties": {name: _plain(properties[name]) for name in order},
        "required": [name for name in order if name in required],
        "additionalProperties": False,
    }


def one_of(tools: Sequence[ToolSpec], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Schemas of an object {**before, tool, arguments, **after}, one for each tool, so that no argument can be given
    which the tool does not have. Where a schema has definitions of its own, its arguments are free."""
    out = []
    for tool in tools:
        free = {"type": "object"} if "$defs" in tool.schema else closed(tool.schema, "all")
        properties = {**before, "tool": {"type": "string", "enum": [tool.name]}, "arguments": free, **after}
        out.append(
            {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
        )
    return out


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            out[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key in ("enum", "const", "default", "required"):
            out[key] = value
        elif key in _KEYWORDS:
            out[key] = _plain(value)
    return out


def asked(request: str, tool: ToolSpec, schema: dict[str, Any], context: str, known: str = "") -> tuple[Message, ...]:
    """What a model is asked for the arguments of a call under ``schema`` (see ``closed``); ``known`` was learned
    before."""
    lines = [f"- {name}{_kind(inner)}: {inner.get('description', '')}" for name, inner in schema["properties"].items()]
    text = f"Function {tool.name}: {tool.description}\nArguments:\n" + "\n".join(lines)
    text += f"\n\n{known}" if known else ""
    text += f"\n\nRequest: {request}" + (f"\n{context}" if context else "")
    text += "\n\nThe arguments of the call as JSON:"
    return Message("system", "You call functions. Take the values from the request."), Message("user", text)


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "")
    allowed = f"one of {json.dumps(schema['enum'][:20], ensure_ascii=False)}" if "enum" in schema else ""
    return f" ({', '.join(part for part in (str(kind), allowed) if part)})" if kind or allowed else ""
