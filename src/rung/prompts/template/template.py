"""Prompt templates: typed variables, parts or turns written in Jinja2, a root to inherit from.

A template is checked when it is read (every variable declared, nothing that the sandbox refuses) and its values are
checked before anything is rendered, so that a missing variable fails before any call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, cast, get_args

from rung.core.codec import digest, encode, spell
from rung.core.errors import InputError
from rung.core.types import Example, Input, Message, Role
from rung.foundations import sandbox
from rung.foundations.sandbox import Trusted
from rung.prompts.template.prompt import PARTS, Prompt
from rung.prompts.template.render import ESCAPES, Pairs, Style, guard, mark, show, style_of

Kind = Literal["string", "integer", "number", "boolean", "list", "object"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TURN = re.compile(r"(?mi)^[ \t]*(?:#[ \t]*)?(system|user|assistant)[ \t]*:[ \t]*$")
"""A line that begins a turn, as in Prompty. It is looked for in the source, never in what was rendered: a value that
holds such a line begins nothing."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a template. ``trusted`` values are the author's words and are not escaped; others are data."""

    name: str
    kind: Kind = "string"
    required: bool = True
    default: Any = None
    about: str = ""
    trusted: bool = False

    def read(self, value: Any) -> Any:
        """The value as this variable's kind; texts are read as numbers, booleans or JSON where one of these is wanted.

        Raises InputError when it cannot be.
        """
        if isinstance(value, str) and self.kind != "string":
            try:
                value = _read_text(self.kind, value)
            except ValueError:
                raise self._wrong(value) from None
        if not isinstance(value, _TYPES[self.kind]) or (isinstance(value, bool) and self.kind != "boolean"):
            raise self._wrong(value)
        if isinstance(value, str) and len(value) > sandbox.LONGEST:
            raise InputError(
                f"variable {self.name}: {len(value):,} characters, at most {sandbox.LONGEST:,} are allowed",
                remedy="cut the text, or split it over several inputs",
            )
        return value

    def _wrong(self, value: Any) -> InputError:
        said = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        return InputError(
            f"variable {self.name}: got {said}, expected {self.kind}", remedy=f"give a value of kind {self.kind}"
        )


_TYPES: Mapping[Kind, Any] = {
    "string": str, "integer": int, "number": int | float, "boolean": bool, "list": list | tuple, "object": Mapping,
}  # fmt: skip
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _read_text(kind: Kind, text: str) -> Any:
    if kind == "integer":
        return int(text)
    if kind == "number":
        return float(text) if not re.fullmatch(r"[+-]?\d+", text.strip()) else int(text)
    if kind == "boolean":
        if (word := text.strip().lower()) not in _WORDS:
            raise ValueError
        return _WORDS[word]
    return json.loads(text)


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt with variables. It has ``parts`` (whose texts are Jinja2), or a ``body`` of turns that may write the
    parts as ``{{ parts.persona }}`` or ``{{ parts.system }}`` (all of them).

    Without a body, the variables that no part mentions are the input and make the last user turn. ``root`` names the
    template that this one inherits: its variables, its body if this has none, its parts where this has none, less
    ``drop``. ``style`` is the rendering; empty inherits (chat at the root). ``extra`` is front matter that travels
    along. ``origin`` is set on a flat template: the hash of what was written, roots included.
    """

    name: str
    parts: Prompt = Prompt()
    body: str = ""
    variables: tuple[Variable, ...] = ()
    root: str = ""
    drop: tuple[str, ...] = ()
    style: str = ""
    about: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def hash(self, root: str = "") -> str:
        """The content's hash; ``root`` is the hash of the root that is inherited, so that it covers all that is
        said."""
        variables = [encode(variable) for variable in self.variables]
        return digest([encode(self.parts), self.body, variables, list(self.drop), self.style, root])

    def over(self, root: Template) -> Template:
        """This template with what it inherits from ``root`` (which must be flat itself) written out."""
        own = {variable.name for variable in self.variables}
        inherited = tuple(variable for variable in root.variables if variable.name not in own)
        return replace(
            self,
            parts=self.parts.inherit(root.parts).drop(*self.drop),
            body=self.body or root.body,
            variables=inherited + self.variables,
            root="",
            drop=(),
            style=self.style or root.style,
            extra={**root.extra, **self.extra},
        )

    def flat(self) -> Template:
        """A template without a root, its own ``drop`` done."""
        return replace(self, parts=self.parts.drop(*self.drop), drop=())

    def with_values(self, values: Mapping[str, Any]) -> Template:
        """The template with ``values`` as its variables' defaults. Raises InputError for one that is not declared."""
        known = {variable.name: variable for variable in self.variables}
        _refuse_unknown(values, known)
        bound = tuple(
            replace(variable, default=variable.read(values[variable.name]), required=False)
            if variable.name in values
            else variable
            for variable in self.variables
        )
        return replace(self, variables=bound)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables that no part mentions: without a body, they make the last user turn."""
        if self.body:
            return ()
        said = set().union(*(sandbox.names(text) for _, text in sources(self)), set())
        return tuple(variable.name for variable in self.variables if variable.name not in said)

    @property
    def required(self) -> tuple[str, ...]:
        """Variables that must be given a value."""
        return tuple(variable.name for variable in self.variables if variable.required and variable.default is None)

    def check(self, file: str = "") -> Template:
        """This (flat) template, found good. Raises InputError: a variable that is not declared, a part that would be
        lost, something the sandbox refuses, no text at all."""
        where = file or self.name or None
        known = {variable.name for variable in self.variables}
        if self.style:
            style_of(self.style)
        for label, text in sources(self):
            allowed = known | ({"parts"} if label == "body" else set())
            for name, line in sandbox.names(text).items():
                if name not in allowed:
                    raise InputError(
                        f"{label}, line {line}: {name!r} is not declared",
                        remedy=f"declare it: variables: {{{name}: string}}"
                        + (f"; declared: {', '.join(sorted(known))}" if known else ""),
                        file=where,
                    )
        if self.body:
            turns = list(split(self.body))
            if not any(role == "user" for role, _ in turns):
                raise InputError("the body has no user turn", remedy="write a line `user:` and the text", file=where)
            said = self.body
            for part in PARTS:
                if (
                    part != "examples"
                    and getattr(self.parts, part)
                    and not re.search(rf"parts\.({part}|system)\b", said)
                ):
                    raise InputError(
                        f"the body has turns and never writes the part {part}: it would be lost",
                        remedy=f"write {{{{ parts.{part} }}}} or {{{{ parts.system }}}} in a turn, or drop: [{part}]",
                        file=where,
                    )
        elif self.parts == Prompt() and not self.inputs:
            raise InputError("the template is empty", remedy="write an instruction", file=where)
        return self

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Every variable's value, of its kind. Raises InputError for a missing value or one that is not declared."""
        known = {variable.name: variable for variable in self.variables}
        _refuse_unknown(values, known)
        bound: dict[str, Any] = {}
        for variable in self.variables:
            given = values.get(variable.name)
            if given is None:
                if variable.default is None and variable.required:
                    raise InputError(
                        f"{self.name or 'the template'}: the variable {variable.name} has no value",
                        remedy=f"give it: {variable.name}=..., or declare a default",
                    )
                given = variable.default
            value = None if given is None else variable.read(given)
            bound[variable.name] = Trusted(value) if variable.trusted and isinstance(value, str) else value
        return bound

    def render(self, input: Mapping[str, Any] | str, examples: Sequence[Example] = ()) -> tuple[Message, ...]:
        """The messages for these values (a text is the first variable without a default). Examples come before the last
        user turn. Raises InputError as ``bind`` does."""
        if isinstance(input, str):
            input = {self._first(): input}
        return compiled(self)(self.bind(input), examples)

    def _first(self) -> str:
        open_ = self.required or tuple(variable.name for variable in self.variables)
        if not open_:
            raise InputError(f"{self.name}: the template has no variables", remedy="render it without an input")
        return open_[0]


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Variable]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(
            f"the template has no variable {', '.join(unknown)}",
            remedy=f"its variables: {', '.join(known) or 'none'}",
        )


def split(body: str) -> Iterator[tuple[Role, str]]:
    """The turns of a body, each with its text trimmed of the blank lines around it."""
    marks = list(TURN.finditer(body))
    ends = [found.start() for found in marks[1:]] + [len(body)]
    for found, end in zip(marks, ends, strict=True):
        yield cast(Role, found[1].lower()), body[found.end() : end].strip("\r\n")


def sources(template: Template) -> Iterator[tuple[str, str]]:
    """Every text of a template that is Jinja2, with what it is."""
    parts = template.parts
    for part in ("persona", "audience", "instruction", "context", "format"):
        if text := getattr(parts, part):
            yield part, text
    for rule in parts.constraints:
        yield "constraints", rule
    if template.body:
        for _, text in split(template.body):
            yield "body", text


_HEADINGS = "Rules:\nContext:\nExample:\nInput:\nOutput:"


class _Values:
    """Renders one template's texts with one set of values."""

    def __init__(self, template: Template, values: Mapping[str, Any], style: Style) -> None:
        self.values, self.style = values, style
        self.whole = style == "xml" and not template.body
        self.around = "\n".join([_HEADINGS, *(_literals(text) for _, text in sources(template))])

    def escape(self, around: str) -> Callable[[str], str]:
        if self.style in ("chat", "plain"):
            return guard(around)
        return _guarded(around) if self.style == "markdown" else ESCAPES[self.style]

    def part(self, text: str) -> str:
        """A text of a part. Without a body, XML is escaped as a whole when the prompt is rendered."""
        if "{" not in text:
            return text
        escape = str if self.whole else self.escape(self.around)
        return sandbox.render(text, self.values, escape)

    def prompt(self, parts: Prompt) -> Prompt:
        return Prompt(
            self.part(parts.instruction),
            self.part(parts.persona),
            self.part(parts.audience),
            # The context is data as a whole: it is delimited and escaped when the prompt is rendered.
            sandbox.render(parts.context, self.values) if parts.context else "",
            tuple(self.part(rule) for rule in parts.constraints),
            self.part(parts.format),
            parts.examples,
            self.style,
        )


@lru_cache(maxsize=256)
def _guarded(around: str) -> Callable[[str], str]:
    apart, inline = guard(around), ESCAPES["markdown"]
    return lambda text: inline(apart(text))


@lru_cache(maxsize=1024)
def _literals(text: str) -> str:
    """What the author wrote, values left out."""
    return re.sub(r"(?s)\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", " ", text)


class CompiledTemplate:
    """A template made ready: what does not depend on the input is rendered once, for as long as the other values
    stay."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.style = style_of(template.style or "chat")
        self.inputs = template.inputs
        self._turns = [(role, text) for role, text in split(template.body)] if template.body else []

    def __call__(self, values: Mapping[str, Any], examples: Sequence[Example]) -> tuple[Message, ...]:
        if self._turns:
            return self._talk(values, examples)
        rendered = _Values(self.template, values, self.style).prompt(self.template.parts)
        if not self.inputs:  # every variable stands in a part: the prompt is one user message
            shots = [turn for shot in rendered.examples for turn in _shot_turns(dict(shot.input), shot.output)]
            shots += [turn for example in examples for turn in _shot_turns(example.input, show(example.reference))]
            if self.style == "chat":
                return (*shots, Message("user", rendered.system))
            (message,) = replace(rendered, examples=()).render("")
            return (*shots, message)
        return rendered.render(
            {name: "" if values[name] is None else spell(values[name]) for name in self.inputs}, examples
        )

    def _talk(self, values: Mapping[str, Any], examples: Sequence[Example]) -> tuple[Message, ...]:
        told = _Values(self.template, values, self.style)
        parts = told.prompt(self.template.parts)
        said: dict[str, Any] = {
            part: Trusted(_sentence(parts, part)) for part in PARTS if part != "examples" and getattr(parts, part)
        }
        scope = {**values, "parts": {**{part: Trusted("") for part in PARTS}, **said, "system": Trusted(parts.system)}}
        last = max(at for at, (role, _) in enumerate(self._turns) if role == "user")
        messages: list[Message] = []
        for at, (role, text) in enumerate(self._turns):
            if at == last:
                for shot in self.template.parts.examples:
                    messages += self._shown(at, scope, dict(shot.input), shot.output, told)
                for example in examples:
                    messages += self._shown(at, scope, example.input, show(example.reference), told)
            messages.append(Message(role, self._turn(text, scope, told)))
        return tuple(message for message in messages if message.content or message.role == "user")

    def _shown(
        self, at: int, scope: Mapping[str, Any], input: Input, output: str, told: _Values
    ) -> tuple[Message, Message]:
        values = {**scope, **{name: text for name, text in input.items() if name in scope}}
        return Message("user", self._turn(self._turns[at][1], values, told)), Message("assistant", output)

    def _turn(self, text: str, scope: Mapping[str, Any], told: _Values) -> str:
        return sandbox.render(text, scope, told.escape(_literals(text))).strip("\r\n") if "{" in text else text


def _sentence(prompt: Prompt, part: str) -> str:
    """A part as the paragraph that a system message has of it."""
    return Prompt(style="chat").replace(part, getattr(prompt, part)).system


def _shot_turns(input: Input, output: str) -> tuple[Message, Message]:
    return Prompt().render(input)[-1], Message("assistant", output)


_ready: dict[int, tuple[Template, CompiledTemplate]] = {}


def compiled(template: Template) -> CompiledTemplate:
    """The template made ready, once for as long as it is used (templates hold mappings and cannot be hashed)."""
    found = _ready.get(id(template))
    if found is None or found[0] is not template:
        if len(_ready) >= 128:
            _ready.clear()
        found = _ready[id(template)] = (template, CompiledTemplate(template))
    return found[1]


def slots(template: Template, fields: Sequence[str]) -> list[tuple[Role, Pairs]]:
    """The template's messages as (literal, slot) pairs, for inputs of ``fields``.

    Raises InputError when a field is no text, or stands in a condition, a loop or a filter: the messages are then no
    fixed text with slots.
    """
    for label, text in sources(template):
        for name in fields:
            if name in sandbox.names(text) and not sandbox.bare(text, name):
                raise InputError(
                    f"{template.name}: {label} uses {name} in an expression, a condition or a loop",
                    remedy=f"write it as {{{{ {name} }}}} only",
                )
    values = template.bind({name: mark(at) for at, name in enumerate(fields)})
    marked = {name: Trusted(value) if name in fields else value for name, value in values.items()}
    return [(turn.role, Pairs.of(turn.content, fields)) for turn in compiled(template)(marked, ())]
