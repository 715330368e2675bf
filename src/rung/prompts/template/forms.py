"""Template files: YAML front matter and a body. Our own form, and the forms of Prompty and dotprompt, read and written.

Prompty: prompty.ai, turns as ``user:`` lines and Jinja2. Dotprompt: google.github.io/dotprompt, Handlebars with
``{{role "user"}}`` and Picoschema. Front matter that means nothing here travels along and is written again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from rung.core import sandbox
from rung.core.errors import InputError
from rung.core.types import Example
from rung.prompts.template import handlebars
from rung.prompts.template.prompt import PARTS, Prompt, Shot
from rung.prompts.template.render import fence, style_of
from rung.prompts.template.template import KINDS, TURN, Kind, Template, Variable, sources, split

FormName = Literal["rung", "prompty", "dotprompt"]
FORMS: tuple[FormName, ...] = get_args(FormName)
SUFFIXES = {
    ".prompty": "prompty",
    ".prompt": "dotprompt",
    ".md": "rung",
    ".j2": "rung",
    ".jinja2": "rung",
    ".txt": "rung",
}

_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_KEYS = ("name", "description", "root", "drop", "style", "variables", "parts")
_TYPES: Mapping[str, Kind] = {
    "string": "string", "str": "string", "text": "string", "integer": "integer", "int": "integer", "number": "number",
    "float": "number", "boolean": "boolean", "bool": "boolean", "list": "list", "array": "list", "object": "object",
    "dict": "object", "any": "string",
}  # fmt: skip


def form_of(path: Path) -> FormName:
    """The form that a file's name stands for."""
    name = SUFFIXES.get(path.suffix.lower(), "rung")
    return next(form for form in FORMS if form == name)


def read_file(path: Path) -> Template:
    """The template in a file, not yet joined to its root. Raises InputError with file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file", remedy="name a template file, or a saved one: rung prompt list"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the template: {error}", file=path, remedy="give a text file in UTF-8") from None
    return read(text, form_of(path), file=str(path))


def read(text: str, form: FormName = "rung", *, file: str = "") -> Template:
    """A template from its text. Raises InputError: not YAML, unknown keys or kinds, Handlebars that has no like here."""
    import yaml

    found = _FRONT.match(text)
    source, body = (found[1], text[found.end() :]) if found else ("", text)
    first = text[: found.end()].count("\n") + 1 if found else 1
    try:
        front = yaml.safe_load(source) or {}
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error)
        raise InputError(
            f"front matter: {said}",
            remedy="correct the YAML between the lines ---",
            file=file or None,
            line=at.line + 2 if at is not None else None,
        ) from None
    if not isinstance(front, Mapping):
        raise InputError("front matter: expected keys and values", remedy="name: my-prompt", file=file or None)
    name = str(front.get("name") or (Path(file).name.partition(".")[0] if file else ""))
    template = _READERS[form](front, body, name, file)
    where = file or name
    for _, turn in split(template.body) if template.body else ():
        sandbox.parse(turn, where, first)
    for _, part in sources(template):
        sandbox.parse(part, where, first)
    return template


def _own(front: Mapping[str, Any], body: str, name: str, file: str) -> Template:
    for key in front:
        if key not in (*_KEYS, "version", "extra"):
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            raise InputError(
                f"front matter: unknown key {key!r}",
                remedy=f"did you mean {near[0]}?" if near else f"keys: {', '.join(_KEYS)}; others go under extra:",
                file=file or None,
            )
    parts = _parts(front.get("parts") or {}, file)
    turns = TURN.search(body) is not None
    if not turns and body.strip():
        if parts.instruction:
            raise InputError(
                "there is a body and a part instruction: the body is the instruction",
                remedy="keep one of them",
                file=file or None,
            )
        parts = parts.replace("instruction", body.strip())
    drop = front.get("drop") or []
    dropped = tuple(str(part) for part in ([drop] if isinstance(drop, str) else drop))
    Prompt().drop(*dropped)
    style = str(front.get("style") or "")
    return Template(
        name=name,
        parts=parts,
        body=body.strip("\r\n") if turns else "",
        variables=_variables(front.get("variables") or {}, file),
        root=str(front.get("root") or ""),
        drop=dropped,
        style=style_of(style) if style else "",
        about=str(front.get("description") or ""),
        extra=dict(front.get("extra") or {}),
    )


def _parts(given: Any, file: str) -> Prompt:
    if not isinstance(given, Mapping):
        raise InputError("front matter: parts is no mapping", remedy="parts: {persona: ...}", file=file or None)
    prompt = Prompt()
    for part, value in given.items():
        if part not in PARTS:
            raise InputError(
                f"front matter: a prompt has no part {part}", remedy=f"parts: {', '.join(PARTS)}", file=file or None
            )
        if part == "examples":
            prompt = prompt.replace("examples", [_shot(item, file) for item in value or ()])
        elif part == "constraints":
            rules = [value] if isinstance(value, str) else list(value or ())
            prompt = prompt.replace("constraints", [str(rule) for rule in rules])
        else:
            prompt = prompt.replace(part, str(value).strip())
    return prompt


def _shot(item: Any, file: str) -> Example:
    if not isinstance(item, Mapping) or "input" not in item or "output" not in item:
        raise InputError(
            "front matter: an example has no input or output",
            remedy="write: - {input: hello, output: greeting}",
            file=file or None,
        )
    given = item["input"]
    fields = {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {"text": str(given)}
    return Example(
        "", fields, item["output"] if isinstance(item["output"], str | list | Mapping) else str(item["output"])
    )


def _variables(given: Any, file: str) -> tuple[Variable, ...]:
    """``{name: kind}`` or ``{name: {type, default, required, description, trusted}}``, or a list of the latter with names."""
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
        raise InputError("variables is no mapping", remedy="variables: {text: string}", file=file or None)
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


# ---------------------------------------------------------------- Prompty


def _prompty(front: Mapping[str, Any], body: str, name: str, file: str) -> Template:
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
        body=_with_turns(body, "system"),
        variables=_variables(inputs, file),
        about=str(front.get("description") or ""),
        extra={key: value for key, value in front.items() if key not in ("name", "description", "inputs")},
    )


def _type(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (Mapping, "object"), (list, "list"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "string")


def _with_turns(body: str, role: str) -> str:
    """The body with its first text, which stands before any mark, as a turn. A body without marks is the user's turn."""
    first = TURN.search(body)
    if first is None:
        return f"user:\n{body.strip(chr(13) + chr(10))}"
    lead = body[: first.start()].strip()
    rest = body[first.start() :].strip("\r\n")
    return f"{role}:\n{lead}\n\n{rest}" if lead else rest


def _prompty_out(template: Template) -> tuple[dict[str, Any], str]:
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
    front: dict[str, Any] = {"name": template.name, **_described(template), **template.extra}
    return {**front, **({"inputs": inputs} if inputs else {})}, turned(template)


# ---------------------------------------------------------------- dotprompt


def _dotprompt(front: Mapping[str, Any], body: str, name: str, file: str) -> Template:
    given = front.get("input") or {}
    schema = given.get("schema") or {} if isinstance(given, Mapping) else {}
    defaults = given.get("default") or {} if isinstance(given, Mapping) else {}
    if not isinstance(schema, Mapping) or not isinstance(defaults, Mapping):
        raise InputError("input.schema is no mapping", remedy="input: {schema: {text: string}}", file=file or None)
    if schema.get("type") == "object" and isinstance(
        schema.get("properties"), Mapping
    ):  # JSON schema instead of Picoschema
        wanted = schema.get("required") or ()
        schema = {key if key in wanted else f"{key}?": value for key, value in schema["properties"].items()}
    variables: dict[str, Any] = {}
    for key, value in schema.items():
        found = re.fullmatch(r"([^?(]+)(\?)?(?:\((\w+)(?:,\s*(.*))?\))?(\?)?", str(key))
        if found is None:
            raise InputError(f"input.schema: cannot read {key!r}", remedy="write: name?: string", file=file or None)
        bare, optional, outer, note = found[1].strip(), bool(found[2] or found[5]), found[3], found[4]
        kind, about = "object", note or ""
        if outer in ("array", "object"):
            kind = outer
        elif outer == "enum":
            kind = "string"
        elif isinstance(value, str):
            kind, _, rest = value.partition(",")
            about = rest.strip() or about
        elif isinstance(value, Mapping) and "type" in value:
            kind, about = str(value["type"]), str(value.get("description") or about)
        what = {"type": kind.strip(), "description": about, "required": not optional and bare not in defaults}
        variables[bare] = {**what, "default": defaults.get(bare)}
    for key, value in defaults.items():
        variables.setdefault(str(key), {"type": _type(value), "default": value})
    return Template(
        name=name,
        body=_with_turns(handlebars.read(body, file), "user"),
        variables=_variables(variables, file),
        about=str(front.get("description") or ""),
        extra={key: value for key, value in front.items() if key not in ("name", "description", "input")},
    )


def _dotprompt_out(template: Template) -> tuple[dict[str, Any], str]:
    schema: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for variable in template.variables:
        optional = "" if variable.required and variable.default is None else "?"
        note = f", {variable.about}" if variable.about else ""
        if variable.kind == "list":
            schema[f"{variable.name}{optional}(array{note})"] = "string"
        elif variable.kind == "object":
            schema[f"{variable.name}{optional}(object{note})"] = {"(*)": "any"}
        else:
            schema[f"{variable.name}{optional}"] = f"{variable.kind}{note}"
        if variable.default is not None:
            defaults[variable.name] = variable.default
    given = {**({"schema": schema} if schema else {}), **({"default": defaults} if defaults else {})}
    body = turned(template)
    turns = [
        '{{role "' + {"assistant": "model"}.get(role, role) + '"}}\n' + handlebars.write(text, template.name)
        for role, text in split(body)
    ]
    front: dict[str, Any] = {"name": template.name, **_described(template), **template.extra}
    return {**front, **({"input": given} if given else {})}, "\n\n".join(turns)


# ---------------------------------------------------------------- writing


def write(template: Template, form: FormName = "rung") -> str:
    """The template as a file. Our own form keeps everything (also a root that is not joined); the others need a flat
    template in the chat rendering. Raises InputError for what the form cannot say."""
    import yaml

    front, body = _WRITERS[form](template)
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120) if front else ""
    return f"---\n{text}---\n{body}\n" if body else f"---\n{text}---\n"


def _own_out(template: Template) -> tuple[dict[str, Any], str]:
    parts: dict[str, Any] = {}
    for part in PARTS:
        value = getattr(template.parts, part)
        if not value or (part == "instruction" and not template.body):
            continue
        if part == "examples":
            value = [{"input": _input(shot), "output": shot.output} for shot in value]
        parts[part] = list(value) if isinstance(value, tuple) else value
    variables: dict[str, Any] = {}
    for variable in template.variables:
        what: dict[str, Any] = {"type": variable.kind}
        if variable.default is not None:
            what["default"] = variable.default
        if variable.required != (variable.default is None):
            what["required"] = variable.required
        if variable.about:
            what["description"] = variable.about
        if variable.trusted:
            what["trusted"] = True
        variables[variable.name] = variable.kind if len(what) == 1 else what
    front: dict[str, Any] = {
        "name": template.name,
        **_described(template),
        "root": template.root,
        "drop": list(template.drop),
        "style": template.style,
        "variables": variables,
        "parts": parts,
        "extra": dict(template.extra),
    }
    return {key: value for key, value in front.items() if value}, template.body or template.parts.instruction


def _input(shot: Shot) -> Any:
    return shot.input[0][1] if [name for name, _ in shot.input] == ["text"] else dict(shot.input)


def _described(template: Template) -> dict[str, Any]:
    return {"description": template.about} if template.about else {}


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


_READERS = {"rung": _own, "prompty": _prompty, "dotprompt": _dotprompt}
_WRITERS = {"rung": _own_out, "prompty": _prompty_out, "dotprompt": _dotprompt_out}
