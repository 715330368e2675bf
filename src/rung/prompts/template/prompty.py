"""Prompty files (prompty.ai): turns as ``user:`` lines and Jinja2. Front matter that means nothing here travels along
and is written again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rung.core.errors import InputError
from rung.prompts.template.prompt import PARTS, Prompt
from rung.prompts.template.render import fence
from rung.prompts.template.template import KINDS, TURN, Kind, Template, Variable

_TYPES: Mapping[str, Kind] = {
    "string": "string", "str": "string", "text": "string", "integer": "integer", "int": "integer", "number": "number",
    "float": "number", "boolean": "boolean", "bool": "boolean", "list": "list", "array": "list", "object": "object",
    "dict": "object", "any": "string",
}  # fmt: skip


def read_variables(given: Any, file: str) -> tuple[Variable, ...]:
    """``{name: kind}`` or ``{name: {type, default, required, description, trusted}}``, or a list of the latter with
    names."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        named: dict[str, Any] = {}
        for item in given:
            if isinstance(item, str):
                named[item] = "string"
            elif isinstance(item, Mapping) and item.get("name"):
                named[str(item["name"])] = {key: value for key, value in item.items() if key != "name"}
            else:
                raise InputError("a variable has no name", remedy="variables: {text: string}", file=file or None)
        given = named
    if not isinstance(given, Mapping):
        raise InputError("variables must be a mapping", remedy="variables: {text: string}", file=file or None)
    out = []
    for name, what in given.items():
        if not str(name).isidentifier() or name in ("parts", "range", "loop"):
            raise InputError(f"{name!r} cannot be a variable's name", remedy="letters, digits, _", file=file or None)
        told: Mapping[str, Any] = what if isinstance(what, Mapping) else {"type": what or "string"}
        kind = str(told.get("type") or told.get("kind") or "string")
        if kind.lower() not in _TYPES:
            raise InputError(
                f"variable {name}: unknown type {kind!r}", remedy=f"types: {', '.join(KINDS)}", file=file or None
            )
        variable = Variable(
            str(name),
            _TYPES[kind.lower()],
            bool(told.get("required", told.get("default") is None)),
            told.get("default"),
            str(told.get("description") or ""),
            bool(told.get("trusted", False)),
        )
        if variable.default is not None:
            variable.read(variable.default)
        out.append(variable)
    return tuple(out)


def read(front: Mapping[str, Any], body: str, name: str, file: str) -> Template:
    """Prompty of both generations: ``inputs`` as a mapping or a list, or only a ``sample`` to tell the inputs by."""
    inputs = front.get("inputs")
    if inputs is None:
        sample = front.get("sample")
        inputs = {key: {"type": _type(value)} for key, value in sample.items()} if isinstance(sample, Mapping) else {}
    if isinstance(inputs, Mapping):
        # The older form allows a bare sample value in place of a description of the input.
        inputs = {key: value if isinstance(value, Mapping) else {"type": _type(value)} for key, value in inputs.items()}
    form = front.get("template")
    syntax = form.get("format") if isinstance(form, Mapping) else form
    if isinstance(syntax, Mapping):
        syntax = syntax.get("kind")
    if syntax not in (None, "jinja2", "jinja"):
        raise InputError(
            f"the template is written in {syntax!r}", remedy="Prompty files in jinja2 can be read", file=file or None
        )
    return Template(
        name=name,
        body=_with_turns(body),
        variables=read_variables(inputs, file),
        about=str(front.get("description") or ""),
        extra={key: value for key, value in front.items() if key not in ("name", "description", "inputs")},
    )


def _type(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (Mapping, "object"), (list, "list"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "string")


def _with_turns(body: str) -> str:
    """The body with its first text, which stands before any mark, as a system turn. A body without marks is the user's
    turn."""
    first = TURN.search(body)
    if first is None:
        return f"user:\n{body.strip(chr(13) + chr(10))}"
    lead = body[: first.start()].strip()
    rest = body[first.start() :].strip("\r\n")
    return f"system:\n{lead}\n\n{rest}" if lead else rest


def write(template: Template) -> tuple[dict[str, Any], str]:
    inputs = {}
    for variable in template.variables:
        what: dict[str, Any] = {"type": {"list": "array"}.get(variable.kind, variable.kind)}
        if variable.about:
            what["description"] = variable.about
        if variable.default is not None:
            what["default"] = variable.default
        if not variable.required and variable.default is None:
            what["required"] = False
        inputs[variable.name] = what
    front: dict[str, Any] = {"name": template.name, **described(template), **template.extra}
    return {**front, **({"inputs": inputs} if inputs else {})}, turned(template)


def turned(template: Template) -> str:
    """A flat template as a body of turns. Raises InputError for a root, or a rendering other than chat."""
    if template.root or template.drop:
        raise InputError(f"{template.name} has a root", remedy="join it first: rung prompt export does")
    if (template.style or "chat") != "chat" and not template.body:
        raise InputError(
            f"{template.name} is rendered as {template.style}, which other tools' files cannot say",
            remedy="export the messages instead: rung prompt export --as openai",
        )
    parts = template.parts
    if not template.body:
        inputs = template.inputs
        asked = _ask(inputs, {name: f"{{{{ {name} }}}}" for name in inputs})
        if not inputs:
            return _shots(parts, inputs) + f"user:\n{_system(parts)}"
        system = f"system:\n{_system(parts)}\n\n" if _system(parts) else ""
        return f"{system}{_shots(parts, inputs)}user:\n{asked}"
    body = template.body
    for part in PARTS:
        if part == "examples":
            continue
        alone = _system(Prompt().replace(part, getattr(parts, part)) if getattr(parts, part) else Prompt())
        body = alone.join(re.split(rf"\{{\{{-?\s*parts\.{part}\s*-?\}}\}}", body))
    body = _system(parts).join(re.split(r"\{\{-?\s*parts\.system\s*-?\}\}", body))
    if re.search(r"\{[{%][^}]*\bparts\.", body):
        raise InputError(
            f"{template.name}: the body uses a part in an expression",
            remedy="write it as {{ parts.persona }}, or export the messages: --as openai",
        )
    if not parts.examples:
        return body
    marks = [found for found in TURN.finditer(body) if found[1].lower() == "user"]
    text = body[marks[-1].end() :].strip("\r\n")
    shots = []
    for shot in parts.examples:
        shown = text
        for name, value in shot.input:
            shown = _quote(value).join(re.split(rf"\{{\{{\s*{re.escape(name)}\s*\}}\}}", shown))
        shots.append(f"user:\n{shown}\n\nassistant:\n{_quote(shot.output)}\n\n")
    return body[: marks[-1].start()] + "".join(shots) + body[marks[-1].start() :]


def _system(parts: Prompt) -> str:
    context = parts.context.strip()
    if context and "{" in context and fence(context) != f"```text\n{context}\n```":
        raise InputError("the context has values and backticks", remedy="export the messages: --as openai")
    return parts.system


def _shots(parts: Prompt, inputs: Sequence[str]) -> str:
    return "".join(
        f"user:\n{_ask([name for name, _ in shot.input], {name: _quote(value) for name, value in shot.input})}\n\n"
        f"assistant:\n{_quote(shot.output)}\n\n"
        for shot in parts.examples
    )


def _quote(text: str) -> str:
    """Data as literal text of a template: no line of it begins a turn, nothing in it is Jinja2."""
    text = re.sub(r"\{[{%#]", lambda found: "{{ '" + found[0] + "' }}", text)
    return TURN.sub(lambda found: "{{ '' }}" + found[0], text)


def _ask(names: Sequence[str], values: Mapping[str, str]) -> str:
    if len(names) == 1:
        return values[names[0]]
    return "\n".join(f"{name}: {values[name]}" for name in names)


def described(template: Template) -> dict[str, Any]:
    return {"description": template.about} if template.about else {}
